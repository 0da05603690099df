package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for _, arch := range []string{"x86_64", "aarch64"} {
		if err := os.Mkdir(filepath.Join(dir, arch), 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--arch="+arch, "--command-line=console="+arch)
		for _, kind := range []string{"kernel", "initrd", "base"} {
			name := filepath.Join(dir, arch, kind)
			if err := os.WriteFile(name, []byte(arch+kind), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--file="+kind+"="+name)
		}
	}
	out := filepath.Join(dir, "manifest.json")
	var stdout strings.Builder
	if err := run(append(args, "--out="+out), &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	m, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := m.ID(); err != nil || stdout.String() != "artifact set "+id+"\n" {
		t.Errorf("stdout = %q, want the ID %s, %v", stdout.String(), id, err)
	}
	var names []string
	for _, arch := range m.Architectures {
		if err := arch.Verify(os.DirFS(dir)); err != nil {
			t.Error(err)
		}
		names = append(names, arch.CommandLine)
		for _, file := range arch.Files {
			names = append(names, string(file.Kind)+" "+file.Name)
		}
	}
	want := []string{
		"console=aarch64", "base aarch64/base", "initrd aarch64/initrd", "kernel aarch64/kernel",
		"console=x86_64", "base x86_64/base", "initrd x86_64/initrd", "kernel x86_64/kernel",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "manifest.json")
	outside := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no out", []string{"--arch=x86_64"}, "missing flag --out"},
		{"argument", []string{"x"}, `unexpected argument "x"`},
		{"file before arch", []string{"--file=kernel=x"}, "an --arch must stand before it"},
		{"file without kind", []string{"--arch=x86_64", "--file=x"}, "want KIND=FILE"},
		{"nothing", []string{"--out=" + out}, "manifest has no architecture"},
		{"no kernel", []string{"--arch=x86_64", "--out=" + out}, "no file is of kind initrd"},
		{"missing file", []string{"--arch=x86_64", "--file=kernel=" + dir + "/none", "--out=" + out}, "describe kernel"},
		{"file elsewhere", []string{"--arch=x86_64", "--file=kernel=" + outside, "--out=" + out}, "describe kernel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(test.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a failed run left a manifest: %v", err)
			}
		})
	}
}
