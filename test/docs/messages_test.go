//go:build !vm

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// foreign are messages of others that stand in ours: of Go, Bazel and the kernel.
var foreign = []string{
	"bind: address already in use",
	`exec: "%s": executable file not found in $PATH`,
	"file does not exist",
	"killed",
	"listen tcp4 %s: %s",
	"missing input file %s",
	"no space left on device",
	"no such file or directory",
	"open %s: no such file or directory",
	"permission denied",
	"structure needs cleaning",
	"reading file:///%s/goproxy/%s: no such file or directory",
}

const (
	// minFixed is how many letters a message must have beside its variable parts:
	// with fewer it could be anything.
	minFixed = 3
	// minStart is how many bytes the start of a message must have.
	minStart = 20
)

var (
	// goVerb and scriptVerb are where a message has a variable part.
	goVerb     = regexp.MustCompile(`%[-+# 0-9.*]*[a-zA-Z]`)
	scriptVerb = regexp.MustCompile(`\{[a-z_]*\}|\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|\$\([^)]*\)`)
	// placeholder is what a page has in its place: a word in capitals, or several
	// with commas, a word with three dots in it, or a number, also with a unit.
	placeholder = regexp.MustCompile(`^(\S*\.\.\.\S*|[A-Z][A-Z0-9_-]*(/[a-z.]+)*(, [A-Z0-9_]+)*|-?[0-9]+(ms|s|m)?)$`)
	prefixes    = []string{"kindling: ", "tools/bazel: "}
)

// message is one that the sources have.
type message struct {
	pattern *regexp.Regexp // what it can look like
	fixed   int            // letters beside the variable parts
}

func newMessage(text string, verb *regexp.Regexp) (m message) {
	// What is put together piece by piece goes on behind a space, and has begun
	// before a semicolon or a space.
	if strings.HasSuffix(text, " ") {
		text += "%v"
	}
	if strings.HasPrefix(text, ";") || strings.HasPrefix(text, " ") {
		text = "%v" + text
	}
	var pattern strings.Builder
	fixed := func(part string) {
		part = strings.ReplaceAll(part, "%%", "%")
		for _, char := range part {
			if unicode.IsLetter(char) {
				m.fixed++
			}
		}
		pattern.WriteString(regexp.QuoteMeta(part))
	}
	end := 0
	for _, at := range verb.FindAllStringIndex(text, -1) {
		fixed(text[end:at[0]])
		pattern.WriteString("(.+?)")
		end = at[1]
	}
	fixed(text[end:])
	m.pattern = regexp.MustCompile("^" + pattern.String() + "$")
	return m
}

// catalog has the messages of the tree.
type catalog struct {
	exact    map[string]bool
	patterns []message
}

func (c *catalog) add(text string, verb *regexp.Regexp) {
	text = strings.Trim(text, "\n")
	text = withoutPrefix(text)
	if text == "" || !utf8.ValidString(text) || c.exact[text] {
		return
	}
	if strings.Contains(text, "\n") {
		for line := range strings.SplitSeq(text, "\n") {
			c.add(strings.TrimSpace(line), verb)
		}
	}
	c.exact[text] = true
	if m := newMessage(text, verb); m.fixed >= minFixed {
		c.patterns = append(c.patterns, m)
	}
}

func withoutPrefix(text string) string {
	for _, prefix := range prefixes {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// has reports whether the sources can say a text: it is one message of theirs,
// whose variable parts are placeholders or again such texts, or a chain of them.
// Of a long message, the page may have the start and three dots.
func (c *catalog) has(text string) bool {
	text = strings.Trim(text, `"`)
	if c.exact[text] || placeholder.MatchString(text) {
		return true
	}
	for _, m := range c.patterns {
		parts := m.pattern.FindStringSubmatch(text)
		isUnknown := func(part string) bool { return len(part) >= len(text) || !c.has(part) }
		if parts != nil && !slices.ContainsFunc(parts[1:], isUnknown) {
			return true
		}
	}
	for i := range text {
		if strings.HasPrefix(text[i:], ": ") && c.has(text[:i]) && c.has(text[i+2:]) {
			return true
		}
	}
	if start, cut := strings.CutSuffix(text, "..."); cut && len(start) >= minStart {
		for exact := range c.exact {
			if strings.HasPrefix(exact, start) {
				return true
			}
		}
	}
	return false
}

// readCatalog reads all Go, Starlark and shell sources but tests.
func readCatalog(t *testing.T) *catalog {
	t.Helper()
	c := &catalog{exact: map[string]bool{}}
	for _, text := range foreign {
		c.add(text, goVerb)
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := filepath.Base(path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "testdata" || name == ".git"):
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		switch {
		case strings.HasSuffix(name, ".go"):
			return c.addGo(path)
		case strings.HasSuffix(name, ".bzl"), strings.HasSuffix(path, "tools/bazel"):
			return c.addScript(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("read %d files, which cannot be all", files)
	}
	return c
}

// addGo adds the string literals of a file, those that + joins as one.
func (c *catalog) addGo(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.BinaryExpr:
			if text, found := joined(node); found {
				c.add(text, goVerb)
			}
		case *ast.BasicLit:
			if node.Kind == token.STRING {
				text, _ := joined(node)
				c.add(text, goVerb)
			}
		}
		return true
	})
	return nil
}

// joined is the text of an expression, with a verb for what is no literal, and
// whether there is a literal in it.
func joined(expr ast.Expr) (text string, found bool) {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(expr.Value)
		return text, err == nil && expr.Kind == token.STRING
	case *ast.BinaryExpr:
		if expr.Op == token.ADD {
			left, isLeft := joined(expr.X)
			right, isRight := joined(expr.Y)
			return left + right, isLeft || isRight
		}
	}
	return "%v", false
}

var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)+)"`)

// addScript adds what stands in double quotes, and each line by itself, as one of
// a long text.
func (c *catalog) addScript(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		c.add(strings.TrimSpace(line), scriptVerb)
		for _, match := range quoted.FindAllStringSubmatch(line, -1) {
			c.add(match[1], scriptVerb)
		}
	}
	return nil
}

// seen marks a table whose first column has messages as users see them.
const seen = "| what you see |"

// TestMessages checks that every message that a page explains is one that the
// sources have, so that who changes one sees the page.
func TestMessages(t *testing.T) {
	catalog := readCatalog(t)
	count := map[string]int{}
	for _, page := range readPages(t) {
		inTable := false
		for i, line := range page.lines {
			inTable = strings.HasPrefix(line, seen) || inTable && strings.HasPrefix(line, "|")
			if !inTable || strings.HasPrefix(line, seen) || strings.HasPrefix(line, "|---") {
				continue
			}
			cell, _, _ := strings.Cut(strings.ReplaceAll(line[1:], `\|`, "\x00"), "|")
			messages := spans(strings.ReplaceAll(cell, "\x00", "|"))
			if len(messages) == 0 {
				t.Errorf("%s:%d: row has no message: %s", page.name, i+1, line)
			}
			for _, text := range messages {
				count[page.name]++
				if !catalog.has(withoutPrefix(strings.ReplaceAll(text, "…", "..."))) {
					t.Errorf("%s:%d: no source says %q; mend the page, or put a message of another program into foreign", page.name, i+1, text)
				}
			}
		}
	}
	if got := count["docs/troubleshooting.md"]; got < 30 {
		t.Errorf("docs/troubleshooting.md has %d messages, want at least 30", got)
	}
}

func TestCatalog(t *testing.T) {
	c := &catalog{exact: map[string]bool{}}
	for _, text := range []string{
		"kindling: %s\n", "find disk %s: %w", "no such disk", "it has %d bytes, want %d", "%s is corrupt: ", "; it is now ", "stopped",
	} {
		c.add(text, goVerb)
	}
	c.add("{path} could not be had.", scriptVerb)
	for text, want := range map[string]bool{
		"find disk NAME: no such disk":                            true,
		"find disk NAME: ...":                                     true,
		`find disk "NAME": it has 3 bytes, want N`:                true,
		"PATH is corrupt: it has N bytes, want N; it is now PATH": true,
		"pool/....deb could not be had.":                          true,
		"stopped":                                                 true,
		"find disk NAME: no such thing":                           false,
		"find disk of the machine: no such disk":                  false,
		"find disk":                                               false,
		"it has many bytes, want N":                               false,
		"no such disk, sorry":                                     false,
		"":                                                        false,
	} {
		if got := c.has(text); got != want {
			t.Errorf("has(%q) = %v, want %v", text, got, want)
		}
	}
}
