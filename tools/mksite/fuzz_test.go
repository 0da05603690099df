package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	md "github.com/kindling-vm/kindling/internal/markdown"
)

// FuzzPage looks for a page that brings HTML of its own into the site.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{"[a](b.md)", "<b>", "`<b>`", "![a](<\"onload=x>)", "[a](javascript:x)", "| a |\n|-|\n| `<b>\\|` |", "## a {#b onclick=c}"} {
		f.Add("# A\n\n" + seed)
	}
	f.Fuzz(func(t *testing.T, page string) {
		site, err := build(map[string][]byte{"index.md": []byte("# I\n\n## S\n\n- [A](a.md)\n"), "a.md": []byte(page)})
		if err != nil {
			return
		}
		html := bytes.ToLower(site["a.html"])
		if bytes.Count(html, []byte("<script")) != 1 || bytes.Contains(html, []byte("javascript:")) && !strings.Contains(strings.ToLower(page), "`") {
			t.Errorf("%q makes %s", page, html)
		}
	})
}

// FuzzText sees whether a text is the same behind Markdown.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"a*b*", "1. x", "- x", "# x", "&amp;", "<b>", "https://host", "a@b.c", "~x~", "[ ] x", "|a|", "+", "www.a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		odd := func(r rune) bool { return !unicode.IsPrint(r) || r > unicode.MaxASCII }
		if !utf8.ValidString(text) || strings.ContainsFunc(text, odd) || strings.TrimSpace(text) != text || text == "" {
			return
		}
		p, err := parsePage("a.md", []byte("# T\n\n"+md.Text(text)+"\n"))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got := plainText(p.document.LastChild(), p.source); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	})
}
