// Package elfcheck refuses ELF files that the guest could not run: of another
// architecture, or linked to libraries that the initrd does not have. The guest
// would only say that /init does not exist.
package elfcheck

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// machines maps architectures, by the names of uname(1), to ELF's numbers.
var machines = map[string]elf.Machine{
	"x86_64":  elf.EM_X86_64,
	"aarch64": elf.EM_AARCH64,
}

// maxDynamic bounds a dynamic section, in bytes.
const maxDynamic = 1 << 20

// CheckArch checks that arch is one of those known.
func CheckArch(arch string) error {
	if _, ok := machines[arch]; !ok {
		return fmt.Errorf("architecture %q is neither x86_64 nor aarch64", arch)
	}
	return nil
}

// CheckStatic checks that r is a program for arch that needs no interpreter and
// no library. A position-independent one is fine.
func CheckStatic(r io.ReaderAt, arch string) error {
	file, err := Open(r, arch)
	if err != nil {
		return err
	}
	if file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return fmt.Errorf("ELF file is %v, not a program", file.Type)
	}
	for _, segment := range file.Progs {
		switch segment.Type {
		case elf.PT_INTERP:
			return errors.New("program is not static: it has an interpreter")
		case elf.PT_DYNAMIC:
			if err := checkDynamic(segment, file.ByteOrder); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckModule checks that r is a kernel module, or another object file, for
// arch.
func CheckModule(r io.ReaderAt, arch string) error {
	file, err := Open(r, arch)
	if err != nil {
		return err
	}
	if file.Type != elf.ET_REL {
		return fmt.Errorf("ELF file is %v, not a kernel module", file.Type)
	}
	return nil
}

// Open reads the headers of an ELF file that has to be for arch.
func Open(r io.ReaderAt, arch string) (*elf.File, error) {
	want, ok := machines[arch]
	if !ok {
		return nil, CheckArch(arch)
	}
	file, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read ELF: %w", err)
	}
	if file.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("ELF file is %v, want %v", file.Class, elf.ELFCLASS64)
	}
	if file.Machine != want {
		return nil, fmt.Errorf("ELF file is for %v, want %v", file.Machine, want)
	}
	return file, nil
}

// checkDynamic looks for DT_NEEDED in the segment that the dynamic linker reads.
// Sections, where debug/elf looks, may be missing from a program that runs.
func checkDynamic(segment *elf.Prog, order binary.ByteOrder) error {
	if segment.Filesz > maxDynamic {
		return fmt.Errorf("ELF file has a dynamic segment of %d bytes, more than %d", segment.Filesz, maxDynamic)
	}
	data := make([]byte, segment.Filesz)
	if _, err := segment.ReadAt(data, 0); err != nil {
		return fmt.Errorf("read dynamic segment: %w", err)
	}
	for ; len(data) >= 16; data = data[16:] { // Elf64_Dyn: tag and value
		switch elf.DynTag(order.Uint64(data)) {
		case elf.DT_NEEDED:
			return errors.New("program is not static: it needs shared libraries")
		case elf.DT_NULL:
			return nil
		}
	}
	return nil
}
