//go:build !vm

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// page is a file of the documentation.
type page struct {
	name  string // from the root of the tree
	lines []string
}

// readPages reads README.md, CONTRIBUTING.md and docs/*.md.
func readPages(t *testing.T) (pages []page) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page{relative, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")})
	}
	if len(pages) < 10 {
		t.Fatalf("found %d pages, which cannot be all", len(pages))
	}
	return pages
}

// block is code that stands indented by four spaces.
type block struct {
	page string
	line int // of the first, from 1
	text string
}

func (p page) blocks() (blocks []block) {
	var current *block
	var gap string // empty lines, which are of the block if it goes on
	for i, line := range p.lines {
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && current == nil:
			current = &block{p.name, i + 1, code + "\n"}
		case indented:
			current.text += gap + code + "\n"
			gap = ""
		case line == "" && current != nil:
			gap += "\n"
		case current != nil:
			blocks = append(blocks, *current)
			current, gap = nil, ""
		}
	}
	if current != nil {
		blocks = append(blocks, *current)
	}
	return blocks
}

// spans are the code spans of a text.
func spans(text string) (found []string) {
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			found = append(found, part)
		}
	}
	return found
}
