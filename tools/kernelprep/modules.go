package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

// maxModinfo bounds the description of a module, in bytes.
const maxModinfo = 1 << 20

// moduleIndex copies a package's modules to a tar file and works out what
// depends on what. Debian leaves that to depmod on the installed machine.
type moduleIndex struct {
	tar     *tar.Writer
	arch    string
	release string
	paths   map[string]string   // module name -> path below lib/modules/RELEASE
	needs   map[string][]string // module name -> names it depends on directly
	builtin []byte
}

func newModuleIndex(w io.Writer, arch string) *moduleIndex {
	return &moduleIndex{tar: tar.NewWriter(w), arch: arch, paths: map[string]string{}, needs: map[string][]string{}}
}

// add takes one file below lib/modules.
func (m *moduleIndex) add(name string, size int64, body io.Reader) error {
	release, file, _ := strings.Cut(strings.TrimPrefix(name, "lib/modules/"), "/")
	if m.release != "" && m.release != release {
		return fmt.Errorf("package has modules of %s and of %s", m.release, release)
	}
	m.release = release
	if !isModule(file) && file != "modules.builtin" {
		return nil
	}
	data, err := readAll(body, size)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if !isModule(file) {
		m.builtin = data
		return nil
	}
	if file, data, err = unpackModule(file, data); err != nil {
		return fmt.Errorf("unpack module %s: %w", name, err)
	}
	module := moduleName(file)
	if other, ok := m.paths[module]; ok {
		return fmt.Errorf("module %s stands twice: %s and %s", module, other, file)
	}
	m.paths[module] = file
	if err := elfcheck.CheckModule(bytes.NewReader(data), m.arch); err != nil {
		return fmt.Errorf("check module %s: %w", name, err)
	}
	if m.needs[module], err = moduleNeeds(data); err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	return m.write(file, data)
}

// finish checks the modules' release against the kernel's and writes
// modules.dep and modules.builtin.
func (m *moduleIndex) finish(kernelRelease string) error {
	if m.release == "" {
		return fmt.Errorf("package has nothing below lib/modules")
	}
	if m.release != kernelRelease {
		return fmt.Errorf("modules are of release %q, the kernel is of %q", m.release, kernelRelease)
	}
	var dep bytes.Buffer
	for _, module := range slices.SortedFunc(maps.Keys(m.paths), func(a, b string) int { return strings.Compare(m.paths[a], m.paths[b]) }) {
		var closure []string
		if err := m.close(module, nil, &closure); err != nil {
			return err
		}
		// depmod's order: what must be loaded first stands last.
		slices.Reverse(closure)
		fmt.Fprintf(&dep, "%s:", m.paths[module])
		for _, need := range closure[1:] {
			fmt.Fprintf(&dep, " %s", m.paths[need])
		}
		dep.WriteByte('\n')
	}
	if err := m.write("modules.dep", dep.Bytes()); err != nil {
		return err
	}
	if err := m.write("modules.builtin", m.builtin); err != nil {
		return err
	}
	if err := m.tar.Close(); err != nil {
		return fmt.Errorf("write modules: %w", err)
	}
	return nil
}

// close appends what module needs to order, deepest first, then module itself.
func (m *moduleIndex) close(module string, from []string, order *[]string) error {
	if slices.Contains(from, module) {
		return fmt.Errorf("modules depend on each other: %s", strings.Join(append(from, module), ", "))
	}
	if slices.Contains(*order, module) {
		return nil
	}
	if m.paths[module] == "" {
		return fmt.Errorf("module %s needs %s, which the package does not have", from[len(from)-1], module)
	}
	for _, need := range m.needs[module] {
		if err := m.close(need, append(from, module), order); err != nil {
			return err
		}
	}
	*order = append(*order, module)
	return nil
}

func (m *moduleIndex) write(file string, data []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join("lib/modules", m.release, file), Mode: 0o644, Size: int64(len(data))}
	if err := m.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", header.Name, err)
	}
	if _, err := m.tar.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", header.Name, err)
	}
	return nil
}

// unpackModule gives a module without the compression that its name tells.
// Initrds are compressed as a whole, and the guest needs no decompressor then.
func unpackModule(file string, data []byte) (string, []byte, error) {
	suffix := path.Ext(file)
	if suffix == ".ko" {
		return file, data, nil
	}
	if suffix != ".xz" {
		return "", nil, fmt.Errorf("compression %s is not supported", suffix)
	}
	unpacker, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", nil, err
	}
	unpacked, err := io.ReadAll(io.LimitReader(unpacker, kernelimage.MaxSize+1))
	if err != nil {
		return "", nil, err
	}
	if len(unpacked) > kernelimage.MaxSize {
		return "", nil, fmt.Errorf("more than %d bytes", kernelimage.MaxSize)
	}
	return strings.TrimSuffix(file, suffix), unpacked, nil
}

// isModule tells modules by name, also those with the suffix of a compression.
func isModule(file string) bool {
	return path.Ext(file) == ".ko" || path.Ext(strings.TrimSuffix(file, path.Ext(file))) == ".ko"
}

// moduleName is how the kernel calls the module in a file: with underscores.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// moduleNeeds reads the names behind depends= in a module's .modinfo section,
// whose entries end in NUL bytes (scripts/mod/modpost.c, add_depends).
func moduleNeeds(data []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	if section.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf(".modinfo section is compressed")
	}
	if section.Size > maxModinfo {
		return nil, fmt.Errorf(".modinfo section has %d bytes, want at most %d", section.Size, maxModinfo)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		names, found := bytes.CutPrefix(entry, []byte("depends="))
		if !found || len(names) == 0 {
			continue
		}
		return strings.Split(strings.ReplaceAll(string(names), "-", "_"), ","), nil
	}
	return nil, nil
}
