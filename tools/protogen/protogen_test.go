package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// TestMain makes this program a plugin when it is run by the name of one.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if !strings.HasPrefix(name, "plugin-") {
		os.Exit(m.Run())
	}
	if err := plugin(name, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, name, "says:", err)
		os.Exit(1)
	}
}

func plugin(name string, in io.Reader, out io.Writer) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var req pluginpb.CodeGeneratorRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return err
	}
	file := &pluginpb.CodeGeneratorResponse_File{}
	resp := &pluginpb.CodeGeneratorResponse{File: []*pluginpb.CodeGeneratorResponse_File{file}}
	switch name {
	case "plugin-report", "plugin-again":
		file.Name = proto.String("d/report.txt")
		file.Content = proto.String(report(&req))
	case "plugin-exit":
		return errors.New("no")
	case "plugin-error":
		resp.Error = proto.String("definition is not nice")
	case "plugin-garbage":
		_, err := out.Write([]byte("\xff"))
		return err
	case "plugin-up":
		file.Name = proto.String("../up.txt")
	case "plugin-absolute":
		file.Name = proto.String("/absolute.txt")
	case "plugin-insert":
		file.Name, file.InsertionPoint = proto.String("x.txt"), proto.String("here")
	}
	if data, err = proto.Marshal(resp); err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// report tells what a plugin was given.
func report(req *pluginpb.CodeGeneratorRequest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "generate %q with %q for compiler %v, environment %q\n", req.FileToGenerate, req.GetParameter(), req.CompilerVersion, os.Environ())
	for _, file := range req.ProtoFile {
		fmt.Fprintf(&b, "%s: package %s, imports %q\n", file.GetName(), file.GetPackage(), file.Dependency)
		for _, location := range file.SourceCodeInfo.GetLocation() {
			if text := location.GetLeadingComments(); text != "" {
				fmt.Fprintf(&b, "comment %v %q\n", location.Path, text)
			}
		}
		for _, message := range file.MessageType {
			for _, field := range message.Field {
				fmt.Fprintf(&b, "field %d %s %s\n", field.GetNumber(), field.GetName(), field.GetJsonName())
			}
		}
	}
	return b.String()
}

// pluginPath is this program under another name.
func pluginPath(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// definitions is a directory with definitions in files, by name.
func definitions(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var good = map[string]string{
	"a/a.proto": `syntax = "proto3"; package a; import "b/b.proto"; import "google/protobuf/empty.proto";
		// A is fine.
		message A { b.B some_b = 7; google.protobuf.Empty e = 8; }`,
	"b/b.proto": `syntax = "proto3"; package b; message B { int32 n = 1; }`,
}

func TestRun(t *testing.T) {
	root, out := definitions(t, good), t.TempDir()
	args := []string{"--plugin", pluginPath(t, "plugin-report"), "--opt", "k=v", "--opt", "l=w", "--root", root, "--out", out, "a/a.proto"}
	var stderr bytes.Buffer
	if err := run(args, &stderr); err != nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Errorf("got output %q, want none", &stderr)
	}
	path := filepath.Join(out, "d", "report.txt")
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `generate ["a/a.proto"] with "k=v,l=w" for compiler <nil>, environment []
b/b.proto: package b, imports []
field 1 n n
google/protobuf/empty.proto: package google.protobuf, imports []
a/a.proto: package a, imports ["b/b.proto" "google/protobuf/empty.proto"]
comment [4 0] " A is fine.\n"
field 7 some_b someB
field 8 e e
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestRunFails(t *testing.T) {
	tests := []struct {
		name    string
		plugins []string
		protos  []string
		files   map[string]string
		want    string
		stderr  string
	}{
		{"plugin exits", []string{"plugin-exit"}, []string{"a/a.proto"}, good, `plugin-exit": exit status 1`, "plugin-exit says: no\n"},
		{"plugin refuses", []string{"plugin-error"}, []string{"a/a.proto"}, good, `plugin-error": definition is not nice`, ""},
		{"plugin writes garbage", []string{"plugin-garbage"}, []string{"a/a.proto"}, good, `plugin-garbage": decode response: `, ""},
		{"output above", []string{"plugin-up"}, []string{"a/a.proto"}, good, `output "../up.txt": not below the output directory`, ""},
		{"absolute output", []string{"plugin-absolute"}, []string{"a/a.proto"}, good, `output "/absolute.txt": not below the output directory`, ""},
		{"insertion point", []string{"plugin-insert"}, []string{"a/a.proto"}, good, `output "x.txt": insertion points are not supported`, ""},
		{"output twice", []string{"plugin-report", "plugin-again"}, []string{"a/a.proto"}, good, `write "d/report.txt": generated by`, ""},
		{"no such definition", []string{"plugin-report"}, []string{"c.proto"}, good, "compile definitions: ", ""},
		{"no such import", []string{"plugin-report"}, []string{"x.proto"}, map[string]string{"x.proto": `syntax = "proto3"; import "y.proto";`}, "compile definitions: ", ""},
		{"syntax", []string{"plugin-report"}, []string{"x.proto"}, map[string]string{"x.proto": `syntax = "proto3"; message {}`}, "compile definitions: x.proto:1:28: syntax error", ""},
		{"number used twice", []string{"plugin-report"}, []string{"x.proto"}, map[string]string{"x.proto": `syntax = "proto3"; message X { int32 a = 1; int32 b = 1; }`}, "compile definitions: x.proto:1:", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := t.TempDir()
			args := []string{"--root", definitions(t, test.files), "--out", filepath.Join(out, "o")}
			for _, name := range test.plugins {
				args = append(args, "--plugin", pluginPath(t, name))
			}
			var stderr bytes.Buffer
			err := run(append(args, test.protos...), &stderr)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if exitCode(err) != 1 || stderr.String() != test.stderr {
				t.Errorf("got exit code %d, stderr %q, want 1, %q", exitCode(err), &stderr, test.stderr)
			}
			if _, err := os.Stat(filepath.Join(out, "up.txt")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("wrote outside of the output directory: %v", err)
			}
		})
	}
}

func TestPluginIsNotLookedUp(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(pluginPath(t, "plugin-report")))
	args := []string{"--plugin", "plugin-report", "--root", definitions(t, good), "--out", t.TempDir(), "a/a.proto"}
	if err := run(args, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no plugin", []string{"--out", "o", "p"}, "usage: no --plugin"},
		{"no output", []string{"--plugin", "x", "p"}, "usage: no --out"},
		{"no definition", []string{"--plugin", "x", "--out", "o"}, "usage: no definition"},
		{"unknown flag", []string{"--x"}, "usage: flag provided but not defined: -x"},
		{"two parameters", []string{"--plugin", "x", "--out", "o", "--opt", "a,b", "p"}, `usage: --opt "a,b": more than one parameter`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(test.args, io.Discard)
			if err == nil || err.Error() != test.want || exitCode(err) != 2 {
				t.Errorf("got error %v, exit code %d, want %q, 2", err, exitCode(err), test.want)
			}
		})
	}
	var stderr bytes.Buffer
	if err := run([]string{"-h"}, &stderr); err != nil || !strings.HasPrefix(stderr.String(), "usage: protogen --plugin FILE") {
		t.Errorf("got %v, %q, want the usage", err, &stderr)
	}
}
