package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

// prepareIn runs the tool with outputs in dir.
func prepareIn(dir, pkg, digest, arch string) error {
	return run([]string{
		"--deb", pkg, "--sha256", digest, "--arch", arch,
		"--vmlinux", filepath.Join(dir, "vmlinux"), "--modules", filepath.Join(dir, "modules.tar"),
	}, io.Discard)
}

func TestPrepare(t *testing.T) {
	// What a user may write must not reach the outputs' modes.
	defer syscall.Umask(syscall.Umask(0o077))
	notes := vmlinux(note("Linux", 1, []byte("x")), pvh)
	large := elftest.Image(elf.EM_X86_64, elf.ET_EXEC, elf.PT_NOTE, bytes.Join([][]byte{pvh, make([]byte, 1<<20-len(pvh))}, nil))
	for _, test := range []struct {
		name    string
		payload []byte
		want    []byte
	}{
		{"lz4", sized(lz4Of(t, notes), len(notes)), notes},
		{"zstd", sized(zstdOf(t, notes), len(notes)), notes},
		{"lz4 of many blocks", sized(lz4Of(t, large), len(large)), large},
		{"zstd of many blocks", sized(zstdOf(t, large), len(large)), large},
	} {
		t.Run(test.name, func(t *testing.T) {
			blk, virtio := ko("kernel/drivers/block/virtio_blk.ko", "virtio"), ko("kernel/drivers/virtio/virtio.ko", "")
			pkg, digest := save(t,
				entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./boot/"}},
				file("boot/config-"+release, []byte("CONFIG_X=y\n")),
				file("boot/vmlinuz-"+release, bzImageOf(test.payload)),
				entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./lib/modules/" + release + "/"}},
				entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/modules/" + release + "/build", Linkname: "/usr/src"}},
				blk, virtio,
				file("lib/modules/"+release+"/modules.builtin", []byte("kernel/fs/ext4/ext4.ko\n")),
				file("lib/modules/"+release+"/modules.order", []byte("unused\n")),
			)
			dir := t.TempDir()
			if err := prepareIn(dir, pkg, digest, "x86_64"); err != nil {
				t.Fatal(err)
			}
			kernel, err := os.ReadFile(filepath.Join(dir, "vmlinux"))
			if err != nil || !bytes.Equal(kernel, test.want) {
				t.Errorf("vmlinux has %d bytes, %v, want %d", len(kernel), err, len(test.want))
			}
			modules, err := os.ReadFile(filepath.Join(dir, "modules.tar"))
			if err != nil {
				t.Fatal(err)
			}
			const base = "lib/modules/" + release + "/"
			if diff := cmp.Diff([]string{
				base + "kernel/drivers/block/virtio_blk.ko: " + string(blk.body),
				base + "kernel/drivers/virtio/virtio.ko: " + string(virtio.body),
				base + "modules.dep: kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio.ko:\n",
				base + "modules.builtin: kernel/fs/ext4/ext4.ko\n",
			}, untar(t, modules)); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
			for _, name := range []string{"vmlinux", "modules.tar"} {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s = %v, %v, want mode 0644", name, info.Mode(), err)
				}
			}
		})
	}
}

// TestPrepareRejects checks that what is wrong is named and leaves no output.
func TestPrepareRejects(t *testing.T) {
	kernel := file("boot/vmlinuz-"+release, goodKernel(t))
	virtio := ko("kernel/virtio.ko", "")
	withELF := func(image []byte) entry {
		return file("boot/vmlinuz-"+release, bzImageOf(sized(zstdOf(t, image), len(image))))
	}
	arm64 := make([]byte, 4096)
	copy(arm64[56:], "ARM\x64")
	other := file("lib/modules/6.1.0-51-cloud-amd64/kernel/virtio.ko", virtio.body)
	tests := []struct {
		name    string
		entries []entry
		want    string // behind "prepare kernel from FILE: "
	}{
		{"empty package", nil, "package has no boot/vmlinuz-*"},
		{"no kernel", []entry{virtio}, "package has no boot/vmlinuz-*"},
		{"kernel elsewhere", []entry{virtio, file("usr/boot/vmlinuz-"+release, kernel.body)}, "package has no boot/vmlinuz-*"},
		{"no modules", []entry{kernel}, "package has nothing below lib/modules"},
		{"two kernels", []entry{kernel, virtio, file("boot/vmlinuz-7", kernel.body)}, "read package FILE: read data.tar: package has a second kernel, boot/vmlinuz-7"},
		{"kernel is a link", []entry{{Header: tar.Header{Typeflag: tar.TypeLink, Name: "./boot/vmlinuz-7", Linkname: "./x"}}}, "read package FILE: read data.tar: boot/vmlinuz-7 is no regular file"},
		{"module is a link", []entry{kernel, {Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/modules/7/a.ko", Linkname: "b.ko"}}}, "read package FILE: read data.tar: lib/modules/7/a.ko is no regular file"},
		{"arm64 Image", []entry{file("boot/vmlinuz-7", arm64)}, "read package FILE: read data.tar: read boot/vmlinuz-7: it is an arm64 Image, want an x86 bzImage"},
		{"kernel is bare ELF", []entry{file("boot/vmlinuz-7", append(vmlinux(pvh), make([]byte, 4096)...))}, `read package FILE: read data.tar: read boot/vmlinuz-7: no bzImage: magic is "\x00\x00\x00\x00", want "HdrS"`},
		{"for another machine", []entry{withELF(elftest.Image(elf.EM_AARCH64, elf.ET_EXEC, elf.PT_NOTE, pvh)), virtio}, "check kernel " + release + ": ELF file is for EM_AARCH64, want EM_X86_64"},
		{"no PVH note", []entry{withELF(vmlinux(note("Linux", 18, make([]byte, 4)))), virtio}, "check kernel " + release + ": kernel has no PVH note (owner Xen, type 18): it cannot be booted as an ELF file"},
		{"payload is no kernel", []entry{withELF([]byte("garbage")), virtio}, "check kernel " + release + ": read ELF: EOF"},
		{"payload unknown", []entry{file("boot/vmlinuz-7", bzImageOf([]byte("\x1f\x8b\x08\x00 gzip \x00\x00\x00\x00"))), virtio}, "unpack kernel " + release + ": payload has unknown magic 1f8b0800, want lz4 or zstd"},
		{"modules of another release", []entry{kernel, other}, `modules are of release "6.1.0-51-cloud-amd64", the kernel is of "` + release + `"`},
		{"modules of two releases", []entry{kernel, virtio, other}, "read package FILE: read data.tar: package has modules of " + release + " and of 6.1.0-51-cloud-amd64"},
		{"compressed module", []entry{kernel, file("lib/modules/"+release+"/kernel/a.ko.xz", []byte("x"))}, "read package FILE: read data.tar: module lib/modules/" + release + "/kernel/a.ko.xz is compressed, which is not supported"},
		{"module for another machine", []entry{kernel, file("lib/modules/"+release+"/a.ko", elftest.Module(elf.EM_AARCH64, ""))}, "read package FILE: read data.tar: check module lib/modules/" + release + "/a.ko: ELF file is for EM_AARCH64, want EM_X86_64"},
		{"module is no ELF", []entry{kernel, file("lib/modules/"+release+"/a.ko", []byte("x"))}, "read package FILE: read data.tar: check module lib/modules/" + release + "/a.ko: read ELF: EOF"},
		{"module is missing", []entry{kernel, ko("a.ko", "b")}, "module a needs b, which the package does not have"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pkg, digest := save(t, test.entries...)
			dir := t.TempDir()
			err := prepareIn(dir, pkg, digest, "x86_64")
			if want := "prepare kernel from " + pkg + ": " + strings.ReplaceAll(test.want, "FILE", pkg); err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant %s", err, want)
			}
			expectNothing(t, dir)
		})
	}
}

func expectNothing(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if len(left) != 0 || err != nil {
		t.Errorf("outputs = %v, %v, want none", left, err)
	}
}

// TestPrepareVerifies checks what comes before the package's content.
func TestPrepareVerifies(t *testing.T) {
	pkg, digest := save(t, file("boot/vmlinuz-"+release, goodKernel(t)), ko("a.ko", ""))
	other := strings.Repeat("0", 64)
	dir := t.TempDir()
	err := prepareIn(dir, pkg, other, "x86_64")
	if want := "verify package " + pkg + ": got SHA-256 " + digest + ", want " + other; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("wrong digest: got error %v, want one with %s", err, want)
	}
	if err := prepareIn(dir, pkg, digest, "riscv64"); err == nil || !strings.HasSuffix(err.Error(), `architecture "riscv64" is neither x86_64 nor aarch64`) {
		t.Errorf("unknown architecture: got error %v", err)
	}
	if err := prepareIn(dir, pkg, digest, "aarch64"); err == nil || !strings.HasSuffix(err.Error(), "ELF file is for EM_X86_64, want EM_AARCH64") {
		t.Errorf("other architecture: got error %v", err)
	}
	if err := prepareIn(dir, filepath.Join(dir, "none"), digest, "x86_64"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no package: got error %v", err)
	}
	expectNothing(t, dir)
}

// TestPrepareCannotWrite has an output whose name a folder has.
func TestPrepareCannotWrite(t *testing.T) {
	pkg, digest := save(t, file("boot/vmlinuz-"+release, goodKernel(t)), ko("a.ko", ""))
	for _, name := range []string{"vmlinux", "modules.tar"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := prepareIn(dir, pkg, digest, "x86_64"); err == nil {
			t.Errorf("%s: got no error", name)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		expectNothing(t, dir)
	}
}

func TestRunRejects(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "missing flag --deb"},
		{[]string{"--deb", "a", "--sha256", "b", "--arch", "c", "--vmlinux", "d"}, "missing flag --modules"},
		{[]string{"a.deb"}, `unexpected argument "a.deb"`},
		{[]string{"--unknown"}, "flag provided but not defined: -unknown"},
		{[]string{"-h"}, flag.ErrHelp.Error()},
	}
	for _, test := range tests {
		if err := run(test.args, io.Discard); err == nil || err.Error() != test.want {
			t.Errorf("%q: got error %v, want %s", test.args, err, test.want)
		}
	}
}
