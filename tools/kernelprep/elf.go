package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

// noteEntry is XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h: the
// address where a hypervisor enters the kernel by the PVH protocol.
const noteEntry = 18

// maxNotes bounds the notes of a kernel, in bytes.
const maxNotes = 1 << 20

// checkKernel refuses what Cloud Hypervisor and QEMU could not boot directly.
func checkKernel(r io.ReaderAt, arch string) error {
	if err := elfcheck.CheckStatic(r, arch); err != nil {
		return err
	}
	file, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("read ELF: %w", err)
	}
	if file.Type != elf.ET_EXEC {
		return fmt.Errorf("kernel is of type %v, want %v", file.Type, elf.ET_EXEC)
	}
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		if segment.Filesz > maxNotes {
			return fmt.Errorf("kernel has %d bytes of notes, want at most %d", segment.Filesz, maxNotes)
		}
		notes := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(notes, 0); err != nil {
			return fmt.Errorf("read notes: %w", err)
		}
		if hasNote(notes, file.ByteOrder, "Xen", noteEntry) {
			return nil
		}
	}
	return fmt.Errorf("kernel has no PVH note (owner Xen, type %d): it cannot be booted as an ELF file", noteEntry)
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
