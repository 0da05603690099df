package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// noteEntry is XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h: the
// address where a hypervisor enters the kernel by the PVH protocol.
const noteEntry = 18

// maxNotes bounds a segment of notes, in bytes.
const maxNotes = 1 << 20

// machines are the types of ELF file that a kernel's link makes: arm64's is
// position-independent.
var machines = map[elf.Machine]struct {
	arch string
	kind elf.Type
}{
	elf.EM_X86_64:  {"x86_64", elf.ET_EXEC},
	elf.EM_AARCH64: {"aarch64", elf.ET_DYN},
}

func openELF(content *io.SectionReader) (*file, error) {
	image, err := elf.NewFile(content)
	if err != nil {
		return nil, fmt.Errorf("read ELF: %w", err)
	}
	if image.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("ELF file is %v, want %v", image.Class, elf.ELFCLASS64)
	}
	machine, ok := machines[image.Machine]
	if !ok {
		return nil, fmt.Errorf("ELF file is for %v, want %v or %v", image.Machine, elf.EM_X86_64, elf.EM_AARCH64)
	}
	if image.Type != machine.kind {
		return nil, fmt.Errorf("ELF file is %v, want a kernel, which is %v", image.Type, machine.kind)
	}
	info := Info{Format: ELF, Arch: machine.arch}
	for i, segment := range image.Progs {
		if segment.Type == elf.PT_INTERP {
			return nil, errors.New("ELF file has an interpreter: it is a program, no kernel")
		}
		data, err := part(content, fmt.Sprintf("program header %d (%v)", i, segment.Type), segment.Off, segment.Filesz)
		if err != nil {
			return nil, err
		}
		if segment.Type != elf.PT_NOTE {
			continue
		}
		if segment.Filesz > maxNotes {
			return nil, fmt.Errorf("kernel has %d bytes of notes, want at most %d", segment.Filesz, maxNotes)
		}
		notes := make([]byte, segment.Filesz)
		if _, err := io.ReadFull(data, notes); err != nil {
			return nil, fmt.Errorf("read notes: %w", err)
		}
		info.PVH = info.PVH || hasNote(notes, image.ByteOrder, "Xen", noteEntry)
	}
	return &file{info: info, unpackedSize: content.Size(), content: content}, nil
}

// hasNote walks ELF notes: sizes of name and description, type, then both
// padded to four bytes.
func hasNote(notes []byte, order binary.ByteOrder, owner string, kind uint32) bool {
	for len(notes) >= 12 {
		nameSize, descSize := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		noteKind := order.Uint32(notes[8:])
		notes = notes[12:]
		nameEnd, descEnd := (nameSize+3)&^3, (nameSize+3)&^3+(descSize+3)&^3
		if uint64(len(notes)) < nameEnd+descSize {
			return false
		}
		name := bytes.TrimRight(notes[:nameSize], "\x00")
		// The entry address is four bytes in a 32-bit note, eight in a 64-bit one.
		if string(name) == owner && noteKind == kind && (descSize == 4 || descSize == 8) {
			return true
		}
		notes = notes[min(descEnd, uint64(len(notes))):]
	}
	return false
}
