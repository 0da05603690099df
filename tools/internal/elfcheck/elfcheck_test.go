package elfcheck

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

func TestCheck(t *testing.T) {
	static := elftest.Program(elf.EM_X86_64)
	cut := elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_DYNAMIC, elftest.Dynamic(elf.DT_DEBUG))
	huge := bytes.Clone(cut)
	binary.LittleEndian.PutUint64(huge[64+32:], 1<<40)
	tests := []struct {
		name  string
		file  []byte
		arch  string
		check string // "" for a program, "module" for a module
		want  string // "" is no error
	}{
		{"static", static, "x86_64", "", ""},
		{"static aarch64", elftest.Program(elf.EM_AARCH64), "aarch64", "", ""},
		{"static and position-independent", elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_DYNAMIC, elftest.Dynamic(elf.DT_HASH, elf.DT_NULL, elf.DT_NEEDED)), "x86_64", "", ""},
		{"module", elftest.Module(elf.EM_X86_64, ""), "x86_64", "module", ""},

		{"other machine", static, "aarch64", "", "ELF file is for EM_X86_64, want EM_AARCH64"},
		{"module of another machine", elftest.Module(elf.EM_AARCH64, ""), "x86_64", "module", "ELF file is for EM_AARCH64, want EM_X86_64"},
		{"unknown architecture", static, "amd64", "", `architecture "amd64" is neither x86_64 nor aarch64`},
		{"32 bits", elftest.Image32(elf.EM_X86_64), "x86_64", "", "ELF file is ELFCLASS32, want ELFCLASS64"},
		{"interpreter", elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_INTERP, []byte("/lib/ld.so\x00")), "x86_64", "", "program is not static: it has an interpreter"},
		{"library", elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_DYNAMIC, elftest.Dynamic(elf.DT_HASH, elf.DT_NEEDED)), "x86_64", "", "program is not static: it needs shared libraries"},
		{"object file", elftest.Module(elf.EM_X86_64, ""), "x86_64", "", "ELF file is ET_REL, not a program"},
		{"program as module", static, "x86_64", "module", "ELF file is ET_EXEC, not a kernel module"},
		{"script", []byte("#!/bin/sh\nexec true\n"), "x86_64", "", "read ELF: bad magic number"},
		{"empty", nil, "x86_64", "", "read ELF: EOF"},
		{"cut", cut[:len(cut)-1], "x86_64", "", "read dynamic segment: "},
		{"huge dynamic segment", huge, "x86_64", "", "ELF file has a dynamic segment of 1099511627776 bytes, more than 1048576"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check := CheckStatic
			if test.check == "module" {
				check = CheckModule
			}
			err := check(bytes.NewReader(test.file), test.arch)
			if test.want == "" && err == nil {
				return
			}
			if test.want == "" || err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzCheckStatic(f *testing.F) {
	f.Add(elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_DYNAMIC, elftest.Dynamic(elf.DT_HASH, elf.DT_NEEDED)))
	f.Add(elftest.Image(elf.EM_X86_64, elf.ET_EXEC, elf.PT_INTERP, []byte("x")))
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := CheckStatic(bytes.NewReader(file), "x86_64"); err == nil && !bytes.HasPrefix(file, []byte("\x7fELF")) {
			t.Errorf("%.20q is taken for a program", file)
		}
	})
}
