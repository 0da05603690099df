package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

// maxGenerated bounds a generated header, in bytes.
const maxGenerated = 64 << 10

// needed are files without which no module can be built.
var needed = []string{".config", "Makefile", "Module.symvers", "include/generated/autoconf.h", "scripts/basic/fixdep", "scripts/mod/modpost"}

// check checks that the headers are whole, of the kernel's release, and that
// their programs run in a guest with the given glibc or a newer one.
func check(tree *fstree.Tree, arch, release, glibc string) error {
	for _, name := range needed {
		if n, err := tree.Lookup(name); err != nil {
			return err
		} else if n.Type != fstree.Regular || n.Size == 0 {
			return fmt.Errorf("%s is empty or no file", name)
		}
	}
	got, err := utsRelease(tree)
	if err != nil {
		return err
	}
	if got != release {
		return fmt.Errorf("headers are of release %q, the kernel is of %q", got, release)
	}
	for name, n := range tree.All() {
		if n.Type == fstree.Regular && strings.HasPrefix(magic(tree, n), elf.ELFMAG) {
			if err := checkProgram(tree.Open(n), arch, glibc); err != nil {
				return fmt.Errorf("check %s: %w", name, err)
			}
		}
	}
	return nil
}

// utsRelease reads what modules will have in their vermagic.
func utsRelease(tree *fstree.Tree) (string, error) {
	const name = "include/generated/utsrelease.h"
	n, err := tree.Lookup(name)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(tree.Open(n), maxGenerated))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "#define" && fields[1] == "UTS_RELEASE" {
			return strings.Trim(fields[2], `"`), nil
		}
	}
	return "", fmt.Errorf("%s does not define UTS_RELEASE", name)
}

func magic(tree *fstree.Tree, n *fstree.Node) string {
	start := make([]byte, len(elf.ELFMAG))
	size, err := tree.Open(n).ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	return string(start[:size])
}

// checkProgram checks the architecture of an ELF file and, of a program, the
// versions of glibc's symbols that it asks for.
func checkProgram(r io.ReaderAt, arch, glibc string) error {
	file, err := elfcheck.Open(r, arch)
	if err != nil {
		return err
	}
	symbols, err := file.ImportedSymbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read symbols: %w", err)
	}
	for _, symbol := range symbols {
		version, ok := strings.CutPrefix(symbol.Version, "GLIBC_")
		if ok && newer(version, glibc) {
			return fmt.Errorf("program needs %s of glibc %s, want at most %s", symbol.Name, version, glibc)
		}
	}
	return nil
}

// newer compares versions of numbers with dots between them.
func newer(a, b string) bool {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		m, _ := strconv.Atoi(x) // a missing number is 0
		n, _ := strconv.Atoi(y)
		if m != n {
			return m > n
		}
	}
	return false
}
