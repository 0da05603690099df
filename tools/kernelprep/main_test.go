package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

// outputs are the files that come out for a package.
var outputs = []string{"image", "modules.tar.zst", "kernel.json"}

// prepareIn runs the tool with outputs in dir.
func prepareIn(dir, kernel, digest, arch string, more ...string) error {
	return run(append([]string{
		"--kernel", kernel, "--sha256", digest, "--arch", arch, "--requirements", "testdata/requirements.json",
		"--image", filepath.Join(dir, outputs[0]), "--modules", filepath.Join(dir, outputs[1]), "--description", filepath.Join(dir, outputs[2]),
	}, more...), io.Discard)
}

const config = "CONFIG_X=y\nCONFIG_MODULAR=m\n# CONFIG_Y is not set\n"

func TestPrepare(t *testing.T) {
	// What a user may write must not reach the outputs' modes.
	defer syscall.Umask(syscall.Umask(0o077))
	small := vmlinux()
	for _, test := range []struct {
		name    string
		payload []byte
		want    []byte
	}{
		{"lz4", kerneltest.Sized(kerneltest.LZ4(small), len(small)), small},
		{"zstd", kerneltest.Sized(kerneltest.Zstd(small), len(small)), small},
	} {
		t.Run(test.name, func(t *testing.T) {
			blk, virtio := ko("kernel/drivers/block/virtio_blk.ko", "virtio"), ko("kernel/drivers/virtio/virtio.ko", "")
			packed := file("lib/modules/"+release+"/kernel/drivers/virtio/virtio.ko.xz", xzOf(t, virtio.body))
			pkg, digest := save(t,
				entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./boot/"}},
				file("boot/config-"+release, []byte(config)),
				file("boot/vmlinuz-"+release, kerneltest.BzImage(test.payload)),
				entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./lib/modules/" + release + "/"}},
				entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/modules/" + release + "/build", Linkname: "/usr/src"}},
				blk, packed,
				file("lib/modules/"+release+"/modules.builtin", []byte("kernel/fs/ext4/ext4.ko\n")),
				file("lib/modules/"+release+"/modules.order", []byte("unused\n")),
			)
			dir := t.TempDir()
			if err := prepareIn(dir, pkg, digest, "x86_64"); err != nil {
				t.Fatal(err)
			}
			kernel, err := os.ReadFile(filepath.Join(dir, "image"))
			if err != nil || !bytes.Equal(kernel, test.want) {
				t.Errorf("image has %d bytes, %v, want %d", len(kernel), err, len(test.want))
			}
			const base = "lib/modules/" + release + "/"
			if diff := cmp.Diff([]string{
				base + "kernel/drivers/block/virtio_blk.ko: " + string(blk.body),
				base + "kernel/drivers/virtio/virtio.ko: " + string(virtio.body),
				base + "modules.dep: kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio.ko:\n",
				base + "modules.builtin: kernel/fs/ext4/ext4.ko\n",
			}, untar(t, zst(t, filepath.Join(dir, "modules.tar.zst")))); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
			description, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := bundle.ParseKernelDescription(description)
			if err != nil {
				t.Fatal(err)
			}
			want := &bundle.KernelDescription{
				Version: 1, Arch: "x86_64", Release: release, Banner: kerneltest.Banner, Format: "elf", PVH: true,
				Hypervisors: []string{"cloud-hypervisor", "qemu"}, Modules: true,
				ConfigSource: "package", ConfigSHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(config))), Features: []string{"modular", "x"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("description (-want +got):\n%s", diff)
			}
			for _, name := range outputs {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s = %v, %v, want mode 0644", name, info.Mode(), err)
				}
			}
		})
	}
}

// TestPrepareRejects checks that what is wrong is named and leaves no output.
func TestPrepareRejects(t *testing.T) {
	kernel := file("boot/vmlinuz-"+release, goodKernel())
	virtio := ko("kernel/virtio.ko", "")
	withELF := func(image []byte) entry {
		return file("boot/vmlinuz-"+release, kerneltest.BzImage(kerneltest.Sized(kerneltest.Zstd(image), len(image))))
	}
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
		{"arm64 Image", []entry{file("boot/vmlinuz-7", kerneltest.Image()), virtio}, "check kernel " + release + ": kernel is for aarch64, want x86_64"},
		{"kernel is no kernel", []entry{file("boot/vmlinuz-7", make([]byte, 4096)), virtio}, "unpack kernel: no kernel: it starts with 00000000, which is neither ELF, bzImage nor an arm64 Image"},
		{"for another machine", []entry{withELF(kerneltest.ELF(elf.EM_AARCH64, elf.ET_DYN, elf.PT_NOTE, kerneltest.PVH())), virtio}, "check kernel " + release + ": kernel is for aarch64, want x86_64"},
		{"no PVH note", []entry{withELF(kerneltest.VMLinux()), virtio}, "check kernel " + release + ": kernel has no PVH note (owner Xen, type 18): it cannot be booted as an ELF file"},
		{"payload is no kernel", []entry{withELF([]byte("garbage")), virtio}, "read kernel: 7 bytes are too few for a kernel"},
		{"payload unknown", []entry{file("boot/vmlinuz-7", kerneltest.BzImage([]byte("\xfd7zXZ\x00\x00\x00\x00\x00"))), virtio}, "unpack kernel: payload is xz, want gzip, lz4 or zstd"},
		{"modules of another release", []entry{kernel, other}, `modules are of release "6.1.0-51-cloud-amd64", the kernel is of "` + release + `"`},
		{"modules of two releases", []entry{kernel, virtio, other}, "read package FILE: read data.tar: package has modules of " + release + " and of 6.1.0-51-cloud-amd64"},
		{"module in zstd", []entry{kernel, file("lib/modules/"+release+"/kernel/a.ko.zst", []byte("x"))}, "read package FILE: read data.tar: unpack module lib/modules/" + release + "/kernel/a.ko.zst: compression .zst is not supported"},
		{"module in broken xz", []entry{kernel, file("lib/modules/"+release+"/kernel/a.ko.xz", []byte("x"))}, "read package FILE: read data.tar: unpack module lib/modules/" + release + "/kernel/a.ko.xz: unexpected EOF"},
		{"two configurations", []entry{kernel, file("boot/config-1", nil), file("boot/config-2", nil)}, "read package FILE: read data.tar: package has a second configuration, boot/config-2"},
		{"symbol is missing", []entry{kernel, virtio, file("boot/config-1", []byte("CONFIG_MODULAR=m\n"))}, "check kernel " + release + ": feature x wants CONFIG_X, which is not set"},
		{"symbol is a module", []entry{kernel, virtio, file("boot/config-1", []byte("CONFIG_MODULAR=m\nCONFIG_X=m\n"))}, "check kernel " + release + ": feature x wants CONFIG_X built in, it is a module"},
		{"no version", []entry{withELF(bytes.ReplaceAll(vmlinux(), []byte("Linux version"), []byte("Other version"))), virtio}, "check kernel : it has no version text"},
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
	pkg, digest := save(t, file("boot/vmlinuz-"+release, goodKernel()), ko("a.ko", ""))
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
	pkg, digest := save(t, file("boot/vmlinuz-"+release, goodKernel()), ko("a.ko", ""))
	for _, name := range outputs {
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

// TestPrepareBare takes kernels that come without a package.
func TestPrepareBare(t *testing.T) {
	withConfig := func(config string) []byte {
		return kerneltest.VMLinux(kerneltest.PVH(), kerneltest.Config(config))
	}
	tests := []struct {
		name, arch string
		kernel     []byte
		wantSource string
		wantErr    string
	}{
		{"no configuration", "x86_64", vmlinux(), "none", ""},
		{"configuration inside", "x86_64", withConfig("CONFIG_X=y\nCONFIG_MODULAR=y\n"), "image", ""},
		{"Image", "aarch64", kerneltest.Image(), "none", ""},
		{"module without modules", "x86_64", withConfig("CONFIG_X=y\nCONFIG_MODULAR=m\n"), "", "feature modular wants CONFIG_MODULAR built in, it is a module"},
		{"for another machine", "aarch64", vmlinux(), "", "kernel is for x86_64, want aarch64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in, dir := filepath.Join(t.TempDir(), "kernel"), t.TempDir()
			if err := os.WriteFile(in, test.kernel, 0o644); err != nil {
				t.Fatal(err)
			}
			err := prepareIn(dir, in, fmt.Sprintf("%x", sha256.Sum256(test.kernel)), test.arch, "--modules=")
			if test.wantErr != "" {
				if err == nil || !strings.HasSuffix(err.Error(), test.wantErr) {
					t.Errorf("got error %v, want %s", err, test.wantErr)
				}
				expectNothing(t, dir)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if image, err := os.ReadFile(filepath.Join(dir, "image")); err != nil || !bytes.Equal(image, test.kernel) {
				t.Errorf("image has %d bytes, %v, want the kernel", len(image), err)
			}
			data, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
			if err != nil {
				t.Fatal(err)
			}
			description, err := bundle.ParseKernelDescription(data)
			if err != nil || description.ConfigSource != test.wantSource || description.Modules {
				t.Errorf("description = %+v, %v, want configuration from %s and no modules", description, err, test.wantSource)
			}
		})
	}
	in, dir := filepath.Join(t.TempDir(), "kernel"), t.TempDir()
	if err := os.WriteFile(in, vmlinux(), 0o644); err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(vmlinux()))
	if err := prepareIn(dir, in, digest, "x86_64"); err == nil || !strings.HasSuffix(err.Error(), "a bare kernel has no modules for --modules") {
		t.Errorf("modules of a bare kernel: got error %v", err)
	}
	if err := prepareIn(dir, in, strings.Repeat("0", 64), "x86_64", "--modules=", "--refetch=again"); err == nil || !strings.HasSuffix(err.Error(), "to fetch it again run: again") {
		t.Errorf("other bytes: got error %v", err)
	}
	expectNothing(t, dir)
}

func TestRequirementsRejects(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no JSON", "", "EOF"},
		{"unknown key", `{"x": {"symbol": ["A"]}}`, `json: unknown field "symbol"`},
		{"no symbols", `{"x": {}}`, "feature x has no symbols"},
		{"two documents", `{} {}`, "more than one document"},
	}
	for _, test := range tests {
		name := filepath.Join(t.TempDir(), "requirements")
		if err := os.WriteFile(name, []byte(test.in), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readRequirements(name); err == nil || err.Error() != "read requirements "+name+": "+test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
}

func TestRunRejects(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "missing flag --kernel"},
		{[]string{"--kernel", "a", "--sha256", "b", "--arch", "c", "--requirements", "r", "--image", "d"}, "missing flag --description"},
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
