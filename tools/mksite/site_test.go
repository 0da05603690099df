package main

import (
	"bytes"
	"flag"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/golden instead of comparing with it")

// requireGolden compares with a file of testdata/golden.
func requireGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-%s +got; go test ./tools/mksite -update writes it):\n%s", path, diff)
	}
}

// documents are the files of testdata/docs.
func documents(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/docs/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %q, error %v, want documents", names, err)
	}
	return names
}

// mksite runs the program and gives the files that it makes.
func mksite(t *testing.T, args ...string) map[string][]byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "site")
	if err := run(append([]string{"--out", out}, args...), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(out, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		if entry.IsDir() {
			want = 0o755
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: got mode %v, want %v", name, info.Mode().Perm(), want)
		}
		if !entry.IsDir() {
			files[filepath.Base(name)], err = os.ReadFile(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSite(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	site := mksite(t, documents(t)...)
	want := []string{"chart.svg", "index.html", "one.html", "site.js", "style.css", "three.html", "two.html"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(site))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, name := range []string{"index.html", "one.html", "three.html"} {
		requireGolden(t, name, site[name])
	}
	again := mksite(t, documents(t)...)
	reversed := documents(t)
	slices.Reverse(reversed)
	for _, other := range []map[string][]byte{again, mksite(t, reversed...)} {
		if diff := cmp.Diff(site, other); diff != "" {
			t.Errorf("again (-first +second):\n%s", diff)
		}
	}
}

func TestProblems(t *testing.T) {
	const index = "# Home\n\n## Pages\n\n- [A](a.md)\n- [B](b.md)\n"
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"dead links", map[string]string{"a.md": "# A\n\n[x](none.md), [y](b.md#none), [z](#none), [w](none.png)\n"}, []string{
			`page a.md: link "none.md": there is no page or file none.md`,
			`page a.md: link "b.md#none": there is no heading #none`,
			`page a.md: link "#none": there is no heading #none`,
			`page a.md: link "none.png": there is no page or file none.png`,
		}},
		{"links in two pages", map[string]string{"a.md": "# A\n\n[x](x.md)\n", "b.md": "# B\n\n[y](y.md)\n"}, []string{
			`page a.md: link "x.md": there is no page or file x.md`,
			`page b.md: link "y.md": there is no page or file y.md`,
		}},
		{"odd links", map[string]string{"a.md": "# A\n\n[x](/b.md), [y](javascript:alert), [z](b.md?q), [w](//host/b.md), [v](b.txt#a), [u](<%zz>)\n", "b.txt": "b"}, []string{
			`page a.md: link "/b.md": want a relative one, or one with http, https or mailto`,
			`page a.md: link "javascript:alert": want a relative one, or one with http, https or mailto`,
			`page a.md: link "b.md?q": want a relative one, or one with http, https or mailto`,
			`page a.md: link "//host/b.md": want a relative one, or one with http, https or mailto`,
			`page a.md: link "b.txt#a": there is no heading #a`,
			`page a.md: link "%zz": it is no URL`,
		}},
		{"image", map[string]string{"a.md": "# A\n\n![x](https://host/x.png) ![y](y.svg) ![z](b.md)\n"}, []string{
			`page a.md: image "https://host/x.png": there is no such file`,
			`page a.md: image "y.svg": there is no such file`,
			`page a.md: image "b.md": there is no such file`,
		}},
		{"html", map[string]string{"a.md": "# A\n\na <b>c</b>\n\n<script>\nalert(1)\n</script>\n"}, []string{
			`page a.md: HTML "<b>": want it in backquotes`,
			`page a.md: HTML "</b>": want it in backquotes`,
			`page a.md: HTML "<script>": want it in a code block`,
		}},
		{"no title", map[string]string{"a.md": "Text.\n"}, []string{`page a.md: it has no title: want it to begin with one # heading`}},
		{"late title", map[string]string{"a.md": "## A\n\n# B\n"}, []string{`page a.md: heading "A": want one # heading, the first`}},
		{"two titles", map[string]string{"a.md": "# A\n\n# B\n"}, []string{`page a.md: heading "B": want one # heading, the first`}},
		{"empty heading", map[string]string{"a.md": "# A\n\n##\n"}, []string{`page a.md: a heading has no text`}},
		{"not in the index", map[string]string{"c.md": "# C\n"}, []string{`page c.md: index.md does not list it`}},
		{"twice in the index", map[string]string{"index.md": index + "- [A](a.md)\n"}, []string{`page index.md: it lists a.md twice`}},
		{"item without a link", map[string]string{"index.md": index + "- more\n"}, []string{`page index.md: item "more": want it to begin with a link to a page`}},
		{"item with a link elsewhere", map[string]string{"index.md": index + "- [C](https://host)\n"},
			[]string{`page index.md: item "C": want it to begin with a link to a page`}},
		{"names that are taken", map[string]string{"style.css": ""}, []string{`make site: two files are called style.css`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := map[string][]byte{"index.md": []byte(index), "a.md": []byte("# A\n"), "b.md": []byte("# B\n")}
			for name, text := range test.files {
				files[name] = []byte(text)
			}
			site, err := build(files)
			if err == nil {
				t.Fatalf("got %d files, want an error", len(site))
			}
			if diff := cmp.Diff(strings.Join(test.want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := build(map[string][]byte{"a.md": []byte("# A\n")}); err == nil || err.Error() != "make site: there is no page index.md" {
		t.Errorf("no index: got error %v", err)
	}
}

func TestTextIsEscaped(t *testing.T) {
	site, err := build(map[string][]byte{
		"index.md": []byte("# A & \"B\"\n\n## `<s>`\n\n- [`<i>` & co](a.md)\n"),
		"a.md":     []byte("# `</title><script>`\n\n## `<b>`\n\n    <script>alert(1)</script>\n\n1 < 2 &lt; 3\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range site {
		if filepath.Ext(name) != ".html" {
			continue
		}
		if bytes.Count(data, []byte("<script")) != 1 || bytes.Contains(data, []byte("<b>")) || bytes.Contains(data, []byte("<i>")) || bytes.Contains(data, []byte("<s>")) {
			t.Errorf("%s: text is not escaped:\n%s", name, data)
		}
	}
	for _, want := range []string{
		"<title>&lt;/title&gt;&lt;script&gt; - A &amp; &#34;B&#34;</title>", "&lt;script&gt;alert(1)&lt;/script&gt;", "1 &lt; 2 &lt; 3",
	} {
		if !strings.Contains(string(site["a.html"]), want) {
			t.Errorf("got %s, want %s in it", site["a.html"], want)
		}
	}
}

func TestSiteNeedsNoNetwork(t *testing.T) {
	for name, data := range mksite(t, documents(t)...) {
		for _, word := range []string{`src="http`, `rel="stylesheet" href="http`, "@import", "url(", "fetch("} {
			if strings.Contains(string(data), word) {
				t.Errorf("%s has %s", name, word)
			}
		}
	}
}

// TestRepositoryDocs makes the site of docs/, but for the command line's page.
func TestRepositoryDocs(t *testing.T) {
	// The rules are those that //docs:rules has.
	build, err := os.ReadFile("../../docs/BUILD.bazel")
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, label := range regexp.MustCompile(`(?m)^ +"//([^:"]+):([^"]+\.bzl)",$`).FindAllStringSubmatch(string(build), -1) {
		path := label[1] + "/" + label[2]
		args = append(args, "--bzl", path+"=../../"+path)
	}
	if len(args) < 20 {
		t.Errorf("got %q, which cannot be all rules", args)
	}
	args = append(args, "--lock", "../../system/artifacts.lock.json")
	for _, pattern := range []string{"../../docs/*.md", "../../docs/*.svg"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: got %q, error %v", pattern, pages, err)
		}
		args = append(args, pages...)
	}
	site := mksite(t, args...)
	for name, want := range map[string]string{
		"index.html": `href="rules.html"`, "rules.html": `id="artifact_set"`, "kernels.html": `id="profiles"`, "agent.html": "<table>",
	} {
		if !strings.Contains(string(site[name]), want) {
			t.Errorf("%s: got %d bytes, want %s in it", name, len(site[name]), want)
		}
	}
}
