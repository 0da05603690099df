//go:build !vm

package deps

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kindling-vm/kindling/"

// rule says what the packages below a folder may import of this module, and,
// where std is set, that they import nothing of other modules.
type rule struct {
	packages string
	may      []string
	std      bool
}

// rules in their order: the first one that fits a package counts.
var rules = []rule{
	{packages: "guest/contract", std: true},
	{packages: "guest", may: []string{"guest", "internal/treecopy"}},
	{packages: "system/push", may: []string{"system"}},
	{packages: "system/registry", may: []string{"system"}},
	{packages: "system/systemtest", may: []string{"system"}},
	{packages: "system", may: []string{"system"}, std: true},
	{packages: "internal", may: []string{"internal"}},
	{packages: "vm", may: []string{"vm", "guest/contract", "guest/guestpb", "internal"}},
	{packages: "cmd", may: []string{"system", "vm", "guest/contract", "internal"}},
	{packages: "examples", std: true},
	{packages: "tools/bench/hostside", may: []string{"system", "vm/rootfs"}},
	{packages: "tools", may: []string{"tools/internal", "tools/pin", "internal", "system/bundle", "system/lock"}},
	{packages: "test", may: []string{"test/internal", "internal", "system", "vm", "guest/contract"}},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for file, imports := range sources(t) {
		importer := filepath.Dir(file)
		index := slices.IndexFunc(rules, func(r rule) bool { return below(importer, r.packages) })
		if index < 0 {
			t.Errorf("no rule says what %s may import", importer)
			continue
		}
		seen[importer] = true
		rule := rules[index]
		for _, imported := range imports {
			own, isOwn := strings.CutPrefix(imported, module)
			host, _, _ := strings.Cut(imported, "/")
			switch {
			case isOwn && !slices.ContainsFunc(rule.may, func(folder string) bool { return below(own, folder) }):
				t.Errorf("%s imports %s; packages below %s may import of this module only %v", file, own, rule.packages, rule.may)
			case !isOwn && rule.std && strings.Contains(host, "."):
				t.Errorf("%s imports %s; packages below %s may import the standard library only", file, imported, rule.packages)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("saw %d packages, which cannot be all", len(seen))
	}
}

// sources gives the imports of every Go file of the module but tests, by its
// path from the module's root. It reads the files itself, so that go test
// knows that its result depends on them.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	const root = "../.."
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[name] = nil
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			files[name] = append(files[name], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// below reports whether a package is in a folder or below it.
func below(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}
