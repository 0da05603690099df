package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocs(t *testing.T) {
	newHost(t)
	first, again := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, again} {
		for _, args := range [][]string{{"man", filepath.Join(dir, "man1")}, {"markdown", filepath.Join(dir, "cli.md")}} {
			if diff := cmp.Diff(result{}, kindling(append([]string{"docs"}, args...)...)); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", args, diff)
			}
		}
	}
	reference := readFile(t, filepath.Join(first, "cli.md"))
	if reference != readFile(t, filepath.Join(again, "cli.md")) {
		t.Error("the reference is another one the second time")
	}
	commands := documented(rootCommand())
	pages, err := filepath.Glob(filepath.Join(first, "man1", "*"))
	if err != nil || len(pages) < len(commands) {
		t.Fatalf("got %d pages, error %v, want one for each of %d commands", len(pages), err, len(commands))
	}
	for _, cmd := range commands {
		name := manName(cmd.CommandPath()) + ".1"
		page := readFile(t, filepath.Join(first, "man1", name))
		if page != readFile(t, filepath.Join(again, "man1", name)) {
			t.Errorf("%s is another one the second time", name)
		}
		if strings.Contains(page, first) || !strings.HasPrefix(page, ".TH KINDLING") {
			t.Errorf("%s: got %.100q", name, page)
		}
		if title := "\n## " + strings.ReplaceAll(cmd.CommandPath(), "-", `\-`) + "\n"; cmd.HasParent() && !strings.Contains(reference, title) {
			t.Errorf("the reference has no section %q", title)
		}
	}
	for _, hidden := range []string{"kindling supervise", "kindling docs"} {
		if strings.Contains(reference, hidden) {
			t.Errorf("the reference has %q, which is hidden", hidden)
		}
	}
	for file, got := range map[string]string{
		"docs_stop.1": readFile(t, filepath.Join(first, "man1", "kindling-stop.1")), "docs_stop.md": section(reference, "kindling stop"),
	} {
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(readFile(t, path), got); diff != "" {
			t.Errorf("(-%s +got; go test ./cmd/kindling -update writes it):\n%s", path, diff)
		}
	}
}

func TestDocsFails(t *testing.T) {
	newHost(t)
	for _, args := range [][]string{{"man", "/dev/null/man"}, {"markdown", "/dev/null/cli.md"}} {
		got := kindling(append([]string{"docs"}, args...)...)
		if got.Code != exitOwn || !strings.Contains(got.Stderr, "/dev/null") {
			t.Errorf("%q: got %+v, want an error that names the file", args, got)
		}
	}
	if diff := cmp.Diff(result{exitUsage, "", "kindling: want docs man or docs markdown\n"}, kindling("docs")); diff != "" {
		t.Errorf("docs (-want +got):\n%s", diff)
	}
}

func TestRoff(t *testing.T) {
	tests := []struct{ in, want string }{
		{`a\b -x`, `a\eb \-x`},
		{".TH\n.so", "\\&.TH\n\\&.so"},
		{"'it's", `\(aqit\(aqs`},
	}
	for _, test := range tests {
		if got := roff(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

// section is the part of a document below a heading, and the heading.
func section(document, title string) string {
	_, text, _ := strings.Cut(document, "\n## "+title+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	return "## " + title + "\n" + text
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
