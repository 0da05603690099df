package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReferences(t *testing.T) {
	cli := filepath.Join(t.TempDir(), "made.md")
	if err := os.WriteFile(cli, []byte("# Command line\n\n## run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	site := mksite(t, append([]string{
		"--cli", cli, "--lock", "testdata/lock.json",
		"--bzl", "example/defs.bzl=testdata/rules.bzl", "--bzl", "other/defs.bzl=testdata/shared.bzl",
	}, documents(t)...)...)
	for name, want := range map[string]string{"cli.html": `id="run"`, "kernels.html": "linux-6.1", "rules.html": `id="example"`} {
		if !strings.Contains(string(site[name]), want) {
			t.Errorf("%s: got %q, want %s in it", name, site[name], want)
		}
		if !strings.Contains(string(site["index.html"]), `href="`+name+`"`) {
			t.Errorf("index.html has no link to %s", name)
		}
	}
}

func TestCommandLine(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "cli.md")
	if err := os.WriteFile(taken, []byte("# Mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{nil, "flag --out is missing"},
		{[]string{"--out", "x"}, "no FILE given"},
		{[]string{"--out", "x", "none.md"}, "read page: open none.md: no such file or directory"},
		{[]string{"--out", "x", "testdata/docs/one.md", "testdata/docs/one.md"}, "read page: one.md is given twice"},
		{[]string{"--out", "x", "--cli", "none.md", "testdata/docs/one.md"}, "read reference of the command line: open none.md: no such file or directory"},
		{[]string{"--out", "x", "--cli", taken, taken}, "add reference: there is a page cli.md"},
		{[]string{"--out", "x", "--lock", "none.json", "testdata/docs/one.md"}, "read lock: open none.json: no such file or directory"},
		{[]string{"--bzl", "x"}, `invalid value "x" for flag -bzl: want PATH=FILE`},
		{[]string{"--bzl", "../x=y"}, `invalid value "../x=y" for flag -bzl: want PATH=FILE`},
	}
	for _, test := range tests {
		if err := run(test.args, io.Discard, io.Discard); err == nil || err.Error() != test.want {
			t.Errorf("%q: got error %v, want %s", test.args, err, test.want)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a site was made of nothing")
	}
	var stdout bytes.Buffer
	if err := run([]string{"--help"}, &stdout, io.Discard); !errors.Is(err, flag.ErrHelp) || !strings.HasPrefix(stdout.String(), "usage: mksite") {
		t.Errorf("--help: got %q, error %v", stdout.String(), err)
	}
}

func TestFolderIsWholeOrAbsent(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "site")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFolder(out, map[string][]byte{"a": nil, "none/b": nil}); err == nil {
		t.Error("got no error of a file that cannot be written")
	}
	requireEntries(t, dir, "site")
	requireEntries(t, out)
	if err := writeFolder(out, map[string][]byte{"a": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	requireEntries(t, out, "a")
	if err := writeFolder(out, map[string][]byte{"b": nil}); err == nil {
		t.Error("got no error of a folder that has files")
	}
	requireEntries(t, dir, "site")
	requireEntries(t, out, "a")
}

func requireEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: got %q, want %q", dir, got, want)
	}
}
