package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules that /etc/modules lists, each behind what it
// depends on. The disk watch starts first, so that no new disk is missed.
func (m *machine) loadModules() error {
	var err error
	if m.disks, err = watchDisks(diskTimeout); err != nil {
		return err
	}
	list, err := os.Open("/etc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel with everything built in
	}
	if err != nil {
		return fmt.Errorf("open list of modules: %w", err)
	}
	defer list.Close()
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return fmt.Errorf("read kernel release: %w", err)
	}
	dir := path.Join("/lib/modules", unix.ByteSliceToString(uname.Release[:]))
	depFile, err := os.Open(path.Join(dir, "modules.dep"))
	if err != nil {
		return fmt.Errorf("open dependencies of this kernel's modules: %w", err)
	}
	defer depFile.Close()
	order, err := loadOrder(list, depFile)
	if err != nil {
		return err
	}
	for _, file := range order {
		if err := loadModule(path.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}

// loadOrder gives the files to load, each once, for a list of module names, one
// a line, and a modules.dep (modules.dep(5)): a line has a module's file, a
// colon, and what it depends on with that which must be loaded first at the end.
func loadOrder(list, dep io.Reader) ([]string, error) {
	needs := map[string][]string{} // module name -> its line's files
	for lines := bufio.NewScanner(dep); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return nil, fmt.Errorf("read modules.dep: %w", err)
			}
			break
		}
		file, depends, found := strings.Cut(lines.Text(), ":")
		if !found {
			return nil, fmt.Errorf("read modules.dep: no colon in %q", lines.Text())
		}
		needs[moduleName(file)] = append([]string{file}, strings.Fields(depends)...)
	}
	var order []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		name := strings.TrimSpace(lines.Text())
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		files, ok := needs[moduleName(name)]
		if !ok {
			return nil, fmt.Errorf("module %s of /etc/modules is not in modules.dep", name)
		}
		for i := len(files) - 1; i >= 0; i-- {
			if !seen[files[i]] {
				seen[files[i]] = true
				order = append(order, files[i])
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read /etc/modules: %w", err)
	}
	return order, nil
}

// moduleName is the module in a file or of a name: - and _ are one to the
// kernel.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

func loadModule(file string) error {
	module, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open module: %w", err)
	}
	defer module.Close()
	if err := unix.FinitModule(int(module.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}
