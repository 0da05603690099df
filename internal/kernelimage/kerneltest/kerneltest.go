// Package kerneltest makes small kernel files for tests. They have the headers
// of kernels, not their code.
package kerneltest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// Release is that of all kernels here.
	Release = "6.1.0-50-cloud-amd64"
	// Banner is their whole version text.
	Banner = Release + " (debian-kernel@lists.debian.org) (gcc-12) #1 SMP"
	// banner is how a kernel has it, behind the format that a reader must skip.
	banner = "Linux version %s (%s)\x00Linux version " + Banner + "\n\x00"
)

// Note is one ELF note, with its padding.
func Note(owner string, kind uint32, desc []byte) []byte {
	var data []byte
	data = binary.LittleEndian.AppendUint32(data, uint32(len(owner)+1))
	data = binary.LittleEndian.AppendUint32(data, uint32(len(desc)))
	data = binary.LittleEndian.AppendUint32(data, kind)
	data = append(data, owner...)
	data = append(data, make([]byte, 4-len(owner)%4)...)
	data = append(data, desc...)
	return append(data, make([]byte, -len(desc)&3)...)
}

// PVH is the note that a kernel must have to be loaded as an ELF file.
func PVH() []byte {
	return Note("Xen", 18, []byte{0x00, 0x00, 0x00, 0x01})
}

// VMLinux is an x86 kernel with notes.
func VMLinux(notes ...[]byte) []byte {
	return ELF(elf.EM_X86_64, elf.ET_EXEC, elf.PT_NOTE, bytes.Join(notes, nil))
}

// ELF is a 64-bit ELF file with one segment, which has data, and a banner
// behind it.
func ELF(machine elf.Machine, kind elf.Type, segment elf.ProgType, data []byte) []byte {
	const headerSize, programSize = 64, 56
	return pack(
		elf.Header64{
			Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(kind), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
			Phoff: headerSize, Ehsize: headerSize, Phentsize: programSize, Phnum: 1, Shentsize: 64,
		},
		elf.Prog64{Type: uint32(segment), Off: headerSize + programSize, Filesz: uint64(len(data)), Memsz: uint64(len(data))},
		data, []byte(banner))
}

// ELF32 is a kernel of 32 bits.
func ELF32() []byte {
	return pack(elf.Header32{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Ehsize: 52, Phentsize: 32, Shentsize: 40,
	}, []byte(banner))
}

// Image is an arm64 kernel without an EFI stub, with data at its end.
func Image(behind ...[]byte) []byte {
	header := make([]byte, 64)
	size := len(header) + len(banner)
	binary.LittleEndian.PutUint64(header[16:], uint64(size))
	binary.LittleEndian.PutUint64(header[24:], 0b1010) // little-endian, pages of 4 KiB, anywhere in memory
	copy(header[56:], "ARM\x64")
	return bytes.Join(append([][]byte{header, []byte(banner)}, behind...), nil)
}

// ZBoot is an EFI program around a compressed kernel.
func ZBoot(compression string, payload []byte) []byte {
	const start = 0x100
	data := make([]byte, start, start+len(payload)+8)
	copy(data, "MZ")
	copy(data[4:], "zimg")
	binary.LittleEndian.PutUint32(data[8:], start)
	binary.LittleEndian.PutUint32(data[12:], uint32(len(payload)))
	copy(data[24:], compression)
	return append(append(data, payload...), "behind.."...)
}

// Config is a kernel's embedded configuration.
func Config(text string) []byte {
	return bytes.Join([][]byte{[]byte("IKCFG_ST"), Gzip([]byte(text)), []byte("IKCFG_ED")}, nil)
}

// Where things are in a BzImage.
const (
	bzSectors = 2
	// BzVersion is the offset of the version text.
	BzVersion = 0x300
	// BzPayload is the offset of the payload.
	BzPayload = (bzSectors+1)*512 + 16
)

// BzImage is a boot loader stub with a payload and 8 bytes behind it.
func BzImage(payload []byte) []byte {
	image := make([]byte, BzPayload+len(payload)+8)
	image[0x1f1] = bzSectors
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x020f)
	binary.LittleEndian.PutUint16(image[0x20e:], BzVersion-512)
	copy(image[BzVersion:], Banner+"\x00")
	binary.LittleEndian.PutUint32(image[0x248:], BzPayload-(bzSectors+1)*512)
	binary.LittleEndian.PutUint32(image[0x24c:], uint32(len(payload)))
	copy(image[BzPayload:], payload)
	return image
}

// Sized is a payload as the kernel's build leaves it: with the unpacked size.
func Sized(payload []byte, size int) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(payload), uint32(size))
}

// Gzip compresses data.
func Gzip(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	must(w.Write(data))
	must(0, w.Close())
	return buf.Bytes()
}

// LZ4 compresses data as lz4 -l does.
func LZ4(data []byte) []byte {
	var buf bytes.Buffer
	w := lz4.NewWriter(&buf)
	must(0, w.Apply(lz4.LegacyOption(true)))
	must(w.Write(data))
	must(0, w.Close())
	return buf.Bytes()
}

// Zstd compresses data.
func Zstd(data []byte) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
	must(0, err)
	must(w.Write(data))
	must(0, w.Close())
	return buf.Bytes()
}

func pack(parts ...any) []byte {
	var buf bytes.Buffer
	for _, part := range parts {
		must(0, binary.Write(&buf, binary.LittleEndian, part))
	}
	return buf.Bytes()
}

// must stops at an error, which a bytes.Buffer does not give.
func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}
