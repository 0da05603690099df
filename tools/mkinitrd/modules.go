package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

const modulesDir = "lib/modules"

// modules are those of one kernel, all of them.
type modules struct {
	tree    *fstree.Tree
	release string
	paths   map[string]string   // name -> path below lib/modules/RELEASE
	needs   map[string][]string // path -> paths, nearest first, as depmod has them
	builtin map[string]bool     // by name
}

// addModules places the named modules and what they need, the lines of
// modules.dep that are about them, and /etc/modules with the names of those that
// are not optional, in the order given, by which the guest's init loads them.
func addModules(tree *fstree.Tree, o *segmentOptions) (err error) {
	source, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := source.AddFile(o.modules); err != nil {
		return err
	}
	m, err := readModules(source)
	if err != nil {
		return err
	}
	chosen, load, err := m.choose(o.names, o.optional)
	if err != nil {
		return err
	}
	var dep strings.Builder
	for _, file := range chosen {
		if err := m.place(tree, file, o.arch); err != nil {
			return fmt.Errorf("place module %s: %w", file, err)
		}
		fmt.Fprintf(&dep, "%s:", file)
		for _, need := range m.needs[file] {
			fmt.Fprintf(&dep, " %s", need)
		}
		dep.WriteByte('\n')
	}
	if err := placeText(tree, path.Join(modulesDir, m.release, "modules.dep"), dep.String()); err != nil {
		return err
	}
	list := ""
	for _, name := range load {
		list += name + "\n"
	}
	return placeText(tree, "etc/modules", list)
}

func placeText(tree *fstree.Tree, path, text string) error {
	return tree.PlaceFile(path, fstree.Meta{Mode: 0o444, ModTime: epoch}, strings.NewReader(text), int64(len(text)))
}

func (m *modules) place(tree *fstree.Tree, file, arch string) error {
	dest := path.Join(modulesDir, m.release, file)
	n, err := m.tree.Lstat(dest)
	if err != nil {
		return err
	}
	if n.Type != fstree.Regular {
		return fmt.Errorf("it is of type %v, want a regular file", n.Type)
	}
	content := m.tree.Open(n)
	if err := elfcheck.CheckModule(content, arch); err != nil {
		return err
	}
	return tree.PlaceFile(dest, fstree.Meta{Mode: 0o444, ModTime: epoch}, content, n.Size)
}

// choose returns the files of the named modules with what they need, sorted,
// and the names of those to load that are not built in.
func (m *modules) choose(names, optional []string) (files, load []string, err error) {
	chosen := map[string]bool{}
	seen := map[string]bool{}
	for i, given := range slices.Concat(names, optional) {
		name := moduleName(given)
		if seen[name] {
			return nil, nil, fmt.Errorf("module %s is named twice", given)
		}
		seen[name] = true
		file, ok := m.paths[name]
		if !ok && m.builtin[name] {
			continue
		}
		if !ok {
			return nil, nil, fmt.Errorf("kernel %s has no module %s", m.release, given)
		}
		if i < len(names) {
			load = append(load, name)
		}
		for _, needed := range append([]string{file}, m.needs[file]...) {
			if _, ok := m.needs[needed]; !ok {
				return nil, nil, fmt.Errorf("module %s needs %s, which modules.dep does not have", given, needed)
			}
			chosen[needed] = true
		}
	}
	return slices.Sorted(maps.Keys(chosen)), load, nil
}

// moduleName is the module of a file or of a name as the kernel calls it, with
// underscores.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

func readModules(source *fstree.Tree) (*modules, error) {
	m := &modules{tree: source, paths: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	for name, n := range source.All() {
		if n.Type == fstree.Directory && path.Dir(name) == modulesDir {
			if m.release != "" {
				return nil, fmt.Errorf("modules are of %s and of %s", m.release, n.Name())
			}
			m.release = n.Name()
		}
	}
	if m.release == "" {
		return nil, fmt.Errorf("there is no %s/RELEASE", modulesDir)
	}
	if err := m.lines("modules.dep", m.addDependencies); err != nil {
		return nil, err
	}
	return m, m.lines("modules.builtin", func(line string) error {
		m.builtin[moduleName(line)] = true
		return nil
	})
}

// addDependencies takes a line of modules.dep(5): a file, a colon, and the files
// it needs.
func (m *modules) addDependencies(line string) error {
	file, needs, ok := strings.Cut(line, ":")
	if !ok || file == "" {
		return fmt.Errorf("%q is not a module and a colon", line)
	}
	name := moduleName(file)
	if other, ok := m.paths[name]; ok {
		return fmt.Errorf("module %s is both %s and %s", name, other, file)
	}
	m.paths[name] = file
	m.needs[file] = strings.Fields(needs)
	return nil
}

// lines calls f with each line of a file in the modules' directory.
func (m *modules) lines(file string, f func(line string) error) error {
	n, err := m.tree.Lookup(path.Join(modulesDir, m.release, file))
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(m.tree.Open(n))
	for number := 1; lines.Scan(); number++ {
		if lines.Text() == "" {
			continue
		}
		if err := f(lines.Text()); err != nil {
			return fmt.Errorf("read %s, line %d: %w", file, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}
