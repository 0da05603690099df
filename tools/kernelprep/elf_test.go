package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

func TestCheckKernel(t *testing.T) {
	good := vmlinux(pvh)
	const noNote = "kernel has no PVH note (owner Xen, type 18): it cannot be booted as an ELF file"
	huge := bytes.Clone(good)
	binary.LittleEndian.PutUint64(huge[64+32:], 1<<40) // size of the segment
	tests := []struct {
		name  string
		image []byte
		want  string // "" is no error
	}{
		{"note of 32 bits", good, ""},
		{"note of 64 bits", vmlinux(note("Xen", 18, make([]byte, 8))), ""},
		{"among others", vmlinux(note("GNU", 3, make([]byte, 20)), note("Xen", 17, make([]byte, 4)), note("Linux", 18, []byte("odd")), pvh, note("", 0, nil)), ""},

		{"no notes", elftest.Program(elf.EM_X86_64), noNote},
		{"note elsewhere", elftest.Image(elf.EM_X86_64, elf.ET_EXEC, elf.PT_LOAD, pvh), noNote},
		{"other owner", vmlinux(note("GNU", 18, make([]byte, 4))), noNote},
		{"longer owner", vmlinux(note("Xenon", 18, make([]byte, 4))), noNote},
		{"other type", vmlinux(note("Xen", 17, make([]byte, 4))), noNote},
		{"note of no bytes", vmlinux(note("Xen", 18, nil)), noNote},
		{"note of 3 bytes", vmlinux(note("Xen", 18, make([]byte, 3))), noNote},
		{"note of 16 bytes", vmlinux(note("Xen", 18, make([]byte, 16))), noNote},
		{"note is cut", vmlinux(pvh[:len(pvh)-1]), noNote},
		{"note of its head", vmlinux(pvh[:12]), noNote},

		{"other machine", elftest.Image(elf.EM_AARCH64, elf.ET_EXEC, elf.PT_NOTE, pvh), "ELF file is for EM_AARCH64, want EM_X86_64"},
		{"32 bits", elftest.Image32(elf.EM_X86_64), "ELF file is ELFCLASS32, want ELFCLASS64"},
		{"relocatable", elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_NOTE, pvh), "kernel is of type ET_DYN, want ET_EXEC"},
		{"module", elftest.Module(elf.EM_X86_64, ""), "ELF file is ET_REL, not a program"},
		{"interpreter", elftest.Image(elf.EM_X86_64, elf.ET_EXEC, elf.PT_INTERP, nil), "program is not static: it has an interpreter"},
		{"huge notes", huge, "kernel has 1099511627776 bytes of notes, want at most 1048576"},
		{"notes outside of the file", good[:len(good)-1], "read notes: "},
		{"program headers outside of the file", good[:64], "read ELF: "},
		{"no ELF", []byte("\x1f\x8b\x08"), "read ELF: "},
		{"empty", nil, "read ELF: EOF"},
	}
	for _, test := range tests {
		err := checkKernel(bytes.NewReader(test.image), "x86_64")
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

// TestCutKernel cuts a good kernel everywhere.
func TestCutKernel(t *testing.T) {
	image := vmlinux(pvh)
	for size := range image {
		if err := checkKernel(bytes.NewReader(image[:size]), "x86_64"); err == nil {
			t.Errorf("cut at %d: got no error", size)
		}
	}
}

func FuzzCheckKernel(f *testing.F) {
	f.Add(vmlinux(pvh))
	f.Add(vmlinux(note("GNU", 3, make([]byte, 20)), pvh))
	f.Fuzz(func(t *testing.T, image []byte) {
		if err := checkKernel(bytes.NewReader(image), "x86_64"); err == nil && !bytes.Contains(image, []byte("Xen")) {
			t.Errorf("%.20q has no note and is taken for a kernel", image)
		}
	})
}

func FuzzHasNote(f *testing.F) {
	f.Add(pvh)
	f.Add(bytes.Join([][]byte{note("Linux", 18, []byte("odd")), pvh}, nil))
	f.Add(note("Xen", 18, make([]byte, 3)))
	f.Fuzz(func(t *testing.T, notes []byte) {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			if hasNote(notes, order, "Xen", noteEntry) && len(notes) < 12+4 {
				t.Errorf("found a note in %x", notes)
			}
		}
	})
}
