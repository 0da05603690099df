package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/tools/internal/deb/debtest"
)

const release = kerneltest.Release

// vmlinux is a kernel that can be booted as an ELF file.
func vmlinux() []byte {
	return kerneltest.VMLinux(kerneltest.PVH())
}

// zst is the content of a zstd file.
func zst(t *testing.T, name string) []byte {
	t.Helper()
	packed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	unpacker, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer unpacker.Close()
	data, err := io.ReadAll(unpacker)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// xzOf is data in xz.
func xzOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// goodKernel is a bzImage with all that a kernel needs.
func goodKernel() []byte {
	return kerneltest.BzImage(kerneltest.Sized(kerneltest.LZ4(vmlinux()), len(vmlinux())))
}

// module is a kernel module with a .modinfo section: an ELF header, the
// section's data, the names of the sections, and three section headers.
func module(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	infoAt, namesAt := uint64(64), uint64(64+len(info))
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: namesAt + uint64(len(names)), Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	sections := [3]elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	}
	var buf bytes.Buffer
	for _, part := range []any{header, []byte(info), []byte(names), sections} {
		if err := binary.Write(&buf, binary.LittleEndian, part); err != nil {
			panic(err) // a bytes.Buffer takes everything of fixed size
		}
	}
	return buf.Bytes()
}

// entry is one entry of a package.
type entry struct {
	tar.Header
	body []byte
}

func file(name string, body []byte) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o600, Size: int64(len(body))}, body: body}
}

// ko is a module that needs others, by their names joined with commas.
func ko(name, needs string) entry {
	return file("lib/modules/"+release+"/"+name, module("license=GPL\x00depends="+needs+"\x00name=x\x00"))
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// untar gives the files of a tar in their order as "name: body".
func untar(t *testing.T, data []byte) []string {
	t.Helper()
	var files []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, header.Name+": "+string(body))
	}
}

// save writes a Debian package and gives its path and digest.
func save(t *testing.T, entries ...entry) (name, digest string) {
	t.Helper()
	pkg := debtest.Package(debtest.Version, debtest.Member{Name: "data.tar", Data: tarOf(t, entries...)})
	name = filepath.Join(t.TempDir(), "linux-image.deb")
	if err := os.WriteFile(name, pkg, 0o644); err != nil {
		t.Fatal(err)
	}
	return name, fmt.Sprintf("%x", sha256.Sum256(pkg))
}
