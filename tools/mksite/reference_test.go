package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/system/lock"
)

func TestRulesPage(t *testing.T) {
	page, err := rulesPage([]starlarkFile{
		{"example/defs.bzl", "testdata/rules.bzl"}, {"other/defs.bzl", "testdata/shared.bzl"},
	})
	if err != nil {
		t.Fatal(err)
	}
	requireGolden(t, "rules.md", page)
	if _, err := parsePage("rules.md", page); err != nil {
		t.Error(err)
	}
}

func TestRulesPageFails(t *testing.T) {
	tests := []struct{ name, source, want string }{
		{"no doc", "r = rule(impl)", "read rules of p/f.bzl: r has no doc"},
		{"nothing", "x = 1", "read rules of p/f.bzl: it defines nothing"},
		{"not parsed", "def", "parse rules: p/f.bzl:1:4: not an identifier"},
		{"fields of a call", `r = rule(impl, doc = "d", attrs = make())`, "read rules of p/f.bzl: attrs of r: got make(), want a dict"},
		{"fields of another file", "load(\"//q:g.bzl\", \"A\")\nr = rule(impl, doc = \"d\", attrs = A)",
			"read rules of p/f.bzl: attrs of r: A is loaded from //q:g.bzl, which is not given or does not define it"},
	}
	for _, test := range tests {
		name := filepath.Join(t.TempDir(), "f.bzl")
		if err := os.WriteFile(name, []byte(test.source), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := rulesPage([]starlarkFile{{"p/f.bzl", name}}); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
	if _, err := rulesPage([]starlarkFile{{"p/f.bzl", "testdata/none.bzl"}}); err == nil || !strings.Contains(err.Error(), "none.bzl") {
		t.Errorf("no file: got error %v, want one that names it", err)
	}
}

func TestKernelsPage(t *testing.T) {
	data, err := os.ReadFile("testdata/lock.json")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lock.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	page := kernelsPage(l)
	requireGolden(t, "kernels.md", page)
	if _, err := parsePage("kernels.md", page); err != nil {
		t.Error(err)
	}
}
