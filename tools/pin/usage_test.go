package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

func TestHelp(t *testing.T) {
	tests := []struct {
		file string
		args []string
	}{
		{"help.txt", nil},
		{"help.txt", []string{"--help"}},
		{"help_add.txt", []string{"add", "--help"}},
		{"help_update.txt", []string{"update", "-h"}},
		{"help_check.txt", []string{"help", "check"}},
		{"help_default.txt", []string{"default", "--help"}},
	}
	for _, test := range tests {
		t.Setenv("BUILD_WORKSPACE_DIRECTORY", t.TempDir())
		var stdout, stderr bytes.Buffer
		if code := run(fetch.New(), test.args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%q: got code %d, %s, want 0 and help on stdout", test.args, code, &stderr)
		}
		path := filepath.Join("testdata", test.file)
		if *update {
			if err := os.WriteFile(path, stdout.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), stdout.String()); diff != "" {
			t.Errorf("%q (-%s +got; go test ./tools/pin -update writes it):\n%s", test.args, path, diff)
		}
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"udpate"}, `unknown command "udpate" for "pin"`},
		{[]string{"--nosuch"}, "unknown flag: --nosuch"},
		{[]string{"check", "--progress", "loud"}, `--progress is "loud", want auto, plain or quiet`},
		{[]string{"check", "--lock", ""}, "no lock: want --lock FILE, or to be run by bazel run"},
		{[]string{"update"}, "got [], want one NAME"},
		{[]string{"update", "a", "b"}, `got ["a" "b"], want one NAME`},
		{[]string{"update", ""}, `got [""], want one NAME`},
		{[]string{"update", "linux"}, "--arch is missing"},
		{[]string{"default", "--kernel", "linux"}, "got [], want one PROFILE"},
		{[]string{"default", "debian"}, "want --kernel, --base, or both"},
		{[]string{"add", "a"}, "--arch is missing"},
		{[]string{"add", "a", "--arch", "x86_64"}, "--kind is missing"},
		{[]string{"add", "a", "--arch", "x86_64", "--kind", "base"}, "--license is missing"},
		{[]string{"add", "a", "--arch", "x86_64", "--kind", "base", "--license", "MIT"}, "want either --url or --package"},
		{[]string{"add", "a", "--arch", "x86_64", "--kind", "base", "--license", "MIT", "--url", "u", "--package", "p"}, "want either --url or --package"},
		{[]string{"add", "a", "--arch", "x86_64", "--kind", "base", "--license", "MIT", "--url", "u"}, "--version is missing"},
	}
	for _, test := range tests {
		w := newWorkspace(t)
		w.requireError(t, result{2, "", "pin: " + test.want + "\n"}, test.args...)
	}
}
