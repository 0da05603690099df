package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"k", "i", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "manifest.json")
	args := []string{"--arch=x86_64", "--kernel=" + dir + "/k", "--initrd=" + dir + "/i", "--base=" + dir + "/b", "--out=" + out}
	if err := run(args, io.Discard); err != nil {
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
	if err := m.Verify(os.DirFS(dir)); err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "manifest.json")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no out", []string{"--arch=x86_64"}, "missing flag --out"},
		{"no kernel", []string{"--arch=x86_64", "--out=" + out}, "manifest has 0 files of kind base, want 1"},
		{"missing file", []string{"--kernel=" + dir + "/none", "--out=" + out}, "describe kernel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(test.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a failed run left a manifest: %v", err)
			}
		})
	}
}
