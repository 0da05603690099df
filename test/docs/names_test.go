//go:build !vm

package docs

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^a-z0-9 -]`)
	testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*\*?$`)
	variable = regexp.MustCompile(`KINDLING_[A-Z_]+`)
	label    = regexp.MustCompile(`^//[a-z0-9/_]+(:[a-z0-9_]+)?$`)
	// inTree is a path of a file or folder of the tree.
	inTree = regexp.MustCompile(`^(\.ci|cmd|docs|guest|internal|platforms|system|test|tools|vm)/[A-Za-z0-9_./-]+$`)
)

// elsewhere are paths that look like those of the tree.
var elsewhere = []string{"system/quarantine"}

// TestLinks checks that links between pages lead to a page and a heading.
func TestLinks(t *testing.T) {
	for _, page := range readPages(t) {
		for i, line := range page.lines {
			for _, match := range link.FindAllStringSubmatch(line, -1) {
				file, anchor, _ := strings.Cut(match[1], "#")
				if strings.Contains(match[1], "://") {
					continue
				}
				target := page.name
				if file != "" {
					target = path.Join(path.Dir(page.name), file)
				}
				text, err := os.ReadFile(filepath.Join(root, target))
				if err != nil {
					t.Errorf("%s:%d: %v", page.name, i+1, err)
				} else if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
					t.Errorf("%s:%d: %s has no heading #%s", page.name, i+1, target, anchor)
				}
			}
		}
	}
}

// anchors are the names of a page's headings, as GitHub makes them.
func anchors(text string) (names []string) {
	for line := range strings.Lines(text) {
		if match := heading.FindStringSubmatch(strings.TrimSpace(line)); match != nil {
			name := noAnchor.ReplaceAllString(strings.ToLower(match[1]), "")
			names = append(names, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return names
}

// TestNames checks that what pages name is there: files and folders, targets,
// tests, and variables of the environment.
func TestNames(t *testing.T) {
	variables := readVariables(t)
	for _, page := range readPages(t) {
		for i, line := range page.lines {
			for _, name := range variable.FindAllString(line, -1) {
				if !slices.Contains(variables, name) {
					t.Errorf("%s:%d: no source has the variable %s", page.name, i+1, name)
				}
			}
			for _, span := range spans(line) {
				switch {
				case label.MatchString(span):
					requireTarget(t, span)
				case testName.MatchString(span):
					if !hasTest(t, strings.ReplaceAll(span, "*", `\w*`)) {
						t.Errorf("%s:%d: there is no %s", page.name, i+1, span)
					}
				case inTree.MatchString(span) && !strings.Contains(span, "...") && !slices.Contains(elsewhere, span):
					if _, err := os.Stat(filepath.Join(root, span)); err != nil {
						t.Errorf("%s:%d: %v", page.name, i+1, err)
					}
				}
			}
		}
	}
}

// readVariables are the names of environment variables in the sources, and those
// that flags have by their name.
func readVariables(t *testing.T) (names []string) {
	t.Helper()
	flag := regexp.MustCompile(`Flags?\(?\)?\.\w+P?\(&[\w.]+, "([a-z-]+)"|flags\.\w+P?\(&[\w.]+, "([a-z-]+)"`)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		isSource := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "tools/bazel")
		if err != nil || !isSource {
			return err
		}
		text, err := os.ReadFile(name)
		names = append(names, variable.FindAllString(string(text), -1)...)
		for _, match := range flag.FindAllStringSubmatch(string(text), -1) {
			names = append(names, "KINDLING_"+strings.ToUpper(strings.ReplaceAll(match[1]+match[2], "-", "_")))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestSteps checks that docs/boot.md has every step of the boot with its phase,
// and says of each whether it stops the boot.
func TestSteps(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "guest/init/boot.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(readText(t, "docs/boot.md"), "\n")
	count := 0
	ast.Inspect(file, func(node ast.Node) bool {
		step, ok := node.(*ast.CompositeLit)
		if !ok || len(step.Elts) != 4 {
			return true
		}
		name, nameErr := literal(step.Elts[0])
		phase, phaseErr := literal(step.Elts[1])
		if errors.Join(nameErr, phaseErr) != nil {
			return true
		}
		count++
		row := slices.IndexFunc(rows, func(row string) bool {
			cells := strings.Split(row, "|")
			return len(cells) == 6 && slices.Contains(spans(cells[1]), name)
		})
		if row < 0 {
			t.Errorf("docs/boot.md has no step %s", name)
			return true
		}
		cells := strings.Split(rows[row], "|")
		if !slices.Contains(spans(cells[2]), phase) {
			t.Errorf("docs/boot.md: step %s has phase%s, want %s", name, cells[2], phase)
		}
		want := map[string]string{"stop": "boot stops", "goOn": "logged"}[step.Elts[3].(*ast.Ident).Name]
		if !strings.Contains(cells[4], want) {
			t.Errorf("docs/boot.md: if step %s fails:%s, want %s", name, cells[4], want)
		}
		return true
	})
	if count < 15 {
		t.Errorf("saw %d steps, which cannot be all", count)
	}
}

func literal(expr ast.Expr) (string, error) {
	basic, ok := expr.(*ast.BasicLit)
	if !ok {
		return "", errors.New("no literal")
	}
	return strconv.Unquote(basic.Value)
}
