// Package elftest makes small ELF files for tests. They have the headers of
// programs and modules, not their code.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Image is a 64-bit ELF file with one segment, which has data.
func Image(machine elf.Machine, kind elf.Type, segment elf.ProgType, data []byte) []byte {
	const headerSize, programSize = 64, 56
	return pack(
		elf.Header64{
			Ident: ident(elf.ELFCLASS64), Type: uint16(kind), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
			Phoff: headerSize, Ehsize: headerSize, Phentsize: programSize, Phnum: 1, Shentsize: 64,
		},
		elf.Prog64{Type: uint32(segment), Off: headerSize + programSize, Filesz: uint64(len(data)), Memsz: uint64(len(data))},
		data)
}

// Program is a static program.
func Program(machine elf.Machine) []byte {
	return Image(machine, elf.ET_EXEC, elf.PT_LOAD, nil)
}

// Module is a kernel module with data in it.
func Module(machine elf.Machine, data string) []byte {
	return Image(machine, elf.ET_REL, elf.PT_NULL, []byte(data))
}

// Image32 is a program of 32 bits.
func Image32(machine elf.Machine) []byte {
	return pack(elf.Header32{
		Ident: ident(elf.ELFCLASS32), Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Ehsize: 52, Phentsize: 32, Shentsize: 40,
	})
}

// Dynamic is the data of a PT_DYNAMIC segment with the tags.
func Dynamic(tags ...elf.DynTag) []byte {
	var data []byte
	for _, tag := range tags {
		data = binary.LittleEndian.AppendUint64(data, uint64(tag))
		data = binary.LittleEndian.AppendUint64(data, 1)
	}
	return data
}

func ident(class elf.Class) [16]byte {
	return [16]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
}

func pack(parts ...any) []byte {
	var buf bytes.Buffer
	for _, part := range parts {
		if err := binary.Write(&buf, binary.LittleEndian, part); err != nil {
			panic(err) // a bytes.Buffer takes everything of fixed size
		}
	}
	return buf.Bytes()
}
