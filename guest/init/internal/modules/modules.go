// Package modules loads kernel modules of a tree, the initrd's or the image's:
// /lib/modules/RELEASE with the files and modules.dep, by which each is loaded
// behind what it depends on. Compressed files are the kernel's to unpack.
//
// It knows no aliases and no /etc/modprobe.d: PID 1 loads by name.
package modules

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// maxDependencies bounds modules.dep, in bytes. A distribution's with all its
// modules has under 1 MB.
const maxDependencies = 16 << 20

// endings of module files: as they are, and as the kernel can unpack them.
var endings = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// Set is the modules of one tree for one kernel. It may be used by several
// goroutines at once.
type Set struct {
	root   *inroot.Root
	dir    string
	needs  map[string][]string // name -> its file, then those of what it depends on
	mutex  sync.Mutex
	loaded map[string]bool // by file

	insert func(module *os.File, parameters string, flags int) error // FinitModule but in tests
}

// Open reads what the tree at root has for a kernel release. A tree that has
// nothing for it is an empty set.
func Open(root *inroot.Root, release string) (*Set, error) {
	s := &Set{root: root, dir: path.Join("/lib/modules", release), loaded: map[string]bool{}, insert: insert}
	dependencies, err := root.ReadFile(path.Join(s.dir, "modules.dep"), maxDependencies)
	if errors.Is(err, unix.ENOENT) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s.needs, err = parse(string(dependencies)); err != nil {
		return nil, fmt.Errorf("parse %s/modules.dep: %w", s.dir, err)
	}
	return s, nil
}

// parse reads modules.dep(5): a line has a module's file, a colon, and the files
// that it depends on with the one to load first at the end.
func parse(dependencies string) (map[string][]string, error) {
	needs := map[string][]string{}
	for line := range strings.Lines(dependencies) {
		line = strings.TrimSuffix(line, "\n")
		file, depends, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("no colon in %.200q", line)
		}
		needs[nameOf(file)] = append([]string{file}, strings.Fields(depends)...)
	}
	return needs, nil
}

// nameOf is the module in a file or of a name: - and _ are one to the kernel.
func nameOf(file string) string {
	name := path.Base(file)
	for _, ending := range endings {
		name = strings.TrimSuffix(name, ending)
	}
	return strings.ReplaceAll(name, "-", "_")
}

// Has tells whether the set has a module.
func (s *Set) Has(name string) bool { return s.needs[nameOf(name)] != nil }

// Load loads a module, with parameters as on modprobe's command line, and before
// it what it depends on. What is loaded already stays as it is.
func (s *Set) Load(name, parameters string) error {
	files := s.needs[nameOf(name)]
	if files == nil {
		return fmt.Errorf("module %s is not in %s/modules.dep", name, s.dir)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for i, file := range slices.Backward(files) {
		if s.loaded[file] {
			continue
		}
		own := ""
		if i == 0 {
			own = parameters
		}
		if err := s.load(path.Join(s.dir, file), own); err != nil {
			return err
		}
		s.loaded[file] = true
	}
	return nil
}

func (s *Set) load(name, parameters string) error {
	module, err := s.root.OpenFile(name)
	if err != nil {
		return err
	}
	defer module.Close()
	flags := 0
	if path.Ext(name) != endings[0] {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := s.insert(module, parameters, flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", name, err)
	}
	return nil
}

func insert(module *os.File, parameters string, flags int) error {
	return unix.FinitModule(int(module.Fd()), parameters, flags)
}
