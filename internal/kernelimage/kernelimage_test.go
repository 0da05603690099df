package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
)

const config = "CONFIG_VSOCKETS=y\n# CONFIG_XEN is not set\n"

func inspect(data []byte) (*Info, error) {
	return Inspect(bytes.NewReader(data), int64(len(data)))
}

func unpack(data []byte) ([]byte, error) {
	return Unpack(bytes.NewReader(data), int64(len(data)))
}

// goodELF, goodImage and goodBz are the kernels that tests change.
func goodELF() []byte   { return kerneltest.VMLinux(kerneltest.PVH()) }
func goodImage() []byte { return kerneltest.Image() }
func goodBz() []byte    { return bzOf(kerneltest.Zstd, goodELF()) }

func bzOf(compress func([]byte) []byte, image []byte) []byte {
	return kerneltest.BzImage(kerneltest.Sized(compress(image), len(image)))
}

func TestInspect(t *testing.T) {
	vmlinux, image := goodELF(), goodImage()
	withConfig := append(goodELF(), kerneltest.Config(config)...)
	// A kernel of many windows has its banner in the first and its configuration
	// across the border of two.
	large := append(goodELF(), make([]byte, 3*window-len(vmlinux)-3)...)
	large = append(append(large, kerneltest.Config(config)...), make([]byte, window)...)
	info := func(format Format, compression, arch string) Info {
		return Info{Format: format, Compression: compression, Arch: arch, Release: kerneltest.Release, Banner: kerneltest.Banner}
	}
	with := func(info Info, pvh bool, config string) Info {
		info.PVH = pvh
		if config != "" {
			info.Config = []byte(config)
		}
		return info
	}
	elfInfo, imageInfo := info(ELF, "", "x86_64"), info(Image, "", "aarch64")
	tests := []struct {
		name     string
		data     []byte
		want     Info
		unpacked []byte
	}{
		{"vmlinux", vmlinux, with(elfInfo, true, ""), vmlinux},
		{"vmlinux without note", kerneltest.VMLinux(), elfInfo, kerneltest.VMLinux()},
		{"vmlinux with configuration", withConfig, with(elfInfo, true, config), withConfig},
		{"vmlinux of many windows", large, with(elfInfo, true, config), large},
		{"vmlinux of arm64", kerneltest.ELF(elf.EM_AARCH64, elf.ET_DYN, elf.PT_LOAD, nil), info(ELF, "", "aarch64"), kerneltest.ELF(elf.EM_AARCH64, elf.ET_DYN, elf.PT_LOAD, nil)},
		{"bzImage of gzip", kerneltest.BzImage(kerneltest.Gzip(vmlinux)), info(BzImage, "gzip", "x86_64"), vmlinux},
		{"bzImage of lz4", bzOf(kerneltest.LZ4, withConfig), with(info(BzImage, "lz4", "x86_64"), false, config), withConfig},
		{"bzImage of zstd", bzOf(kerneltest.Zstd, large), with(info(BzImage, "zstd", "x86_64"), false, config), large},
		{"Image", image, imageInfo, image},
		{"Image with configuration", kerneltest.Image(kerneltest.Config(config)), with(imageInfo, false, config), kerneltest.Image(kerneltest.Config(config))},
		{"Image.gz", kerneltest.Gzip(image), info(ImageGzip, "gzip", "aarch64"), image},
		{"zboot of gzip", kerneltest.ZBoot("gzip", kerneltest.Gzip(image)), info(ZBoot, "gzip", "aarch64"), image},
		{"zboot of zstd", kerneltest.ZBoot("zstd22", kerneltest.Zstd(image)), info(ZBoot, "zstd", "aarch64"), image},
	}
	for _, test := range tests {
		got, err := inspect(test.data)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if got, err := unpack(test.data); err != nil || !bytes.Equal(got, test.unpacked) {
			t.Errorf("%s: unpacked %d bytes, %v, want %d", test.name, len(got), err, len(test.unpacked))
		}
	}
}

func TestInspectPVH(t *testing.T) {
	tests := []struct {
		name  string
		notes []byte
		want  bool
	}{
		{"32 bits", kerneltest.PVH(), true},
		{"64 bits", kerneltest.Note("Xen", 18, make([]byte, 8)), true},
		{"among others", bytes.Join([][]byte{
			kerneltest.Note("GNU", 3, make([]byte, 20)), kerneltest.Note("Xen", 17, make([]byte, 4)), kerneltest.Note("Linux", 18, []byte("odd")),
			kerneltest.PVH(), kerneltest.Note("", 0, nil),
		}, nil), true},
		{"none", nil, false},
		{"other owner", kerneltest.Note("GNU", 18, make([]byte, 4)), false},
		{"longer owner", kerneltest.Note("Xenon", 18, make([]byte, 4)), false},
		{"other type", kerneltest.Note("Xen", 17, make([]byte, 4)), false},
		{"of no bytes", kerneltest.Note("Xen", 18, nil), false},
		{"of 3 bytes", kerneltest.Note("Xen", 18, make([]byte, 3)), false},
		{"of 16 bytes", kerneltest.Note("Xen", 18, make([]byte, 16)), false},
		{"cut", kerneltest.PVH()[:len(kerneltest.PVH())-1], false},
		{"cut behind its head", kerneltest.PVH()[:12], false},
	}
	for _, test := range tests {
		info, err := inspect(kerneltest.VMLinux(test.notes))
		if err != nil || info.PVH != test.want {
			t.Errorf("note %s: got %+v, %v, want PVH %v", test.name, info, err, test.want)
		}
	}
	if info, err := inspect(kerneltest.ELF(elf.EM_X86_64, elf.ET_EXEC, elf.PT_LOAD, kerneltest.PVH())); err != nil || info.PVH {
		t.Errorf("note in a segment of code: got %+v, %v", info, err)
	}
}

func TestInspectRejects(t *testing.T) {
	changed := func(data []byte, offset int, bytes string) []byte {
		copy(data[offset:], bytes)
		return data
	}
	noVersion := goodBz()
	for i := kerneltest.BzVersion; i < len(noVersion); i++ {
		noVersion[i] |= 1
	}
	huge := goodELF()
	binary.LittleEndian.PutUint64(huge[64+32:], 1<<40) // size of the segment
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "0 bytes are too few for a kernel"},
		{"short", goodELF()[:63], "63 bytes are too few for a kernel"},
		{"neither", make([]byte, 4096), "no kernel: it starts with 00000000, which is neither "},
		{"old bzImage magic", changed(goodBz(), offsetMagic, "h"), "no kernel: "},

		{"ELF of 32 bits", kerneltest.ELF32(), "ELF file is ELFCLASS32, want ELFCLASS64"},
		{"ELF for another machine", kerneltest.ELF(elf.EM_RISCV, elf.ET_EXEC, elf.PT_LOAD, nil), "ELF file is for EM_RISCV, want EM_X86_64 or EM_AARCH64"},
		{"module", kerneltest.ELF(elf.EM_X86_64, elf.ET_REL, elf.PT_NULL, nil), "ELF file is ET_REL, want a kernel, which is ET_EXEC"},
		{"position-independent program", kerneltest.ELF(elf.EM_X86_64, elf.ET_DYN, elf.PT_NOTE, kerneltest.PVH()), "ELF file is ET_DYN, want a kernel, which is ET_EXEC"},
		{"dynamic program", kerneltest.ELF(elf.EM_X86_64, elf.ET_EXEC, elf.PT_INTERP, nil), "ELF file has an interpreter: it is a program, no kernel"},
		{"ELF cut in the program headers", goodELF()[:64+20], "read ELF: "},
		{"ELF cut in a segment", goodELF()[:64+56+10], "program header 0 (PT_NOTE) of 20 bytes at 120 is outside of the file's 130 bytes"},
		{"segment behind the file", huge, "program header 0 (PT_NOTE) of 1099511627776 bytes at 120 is outside of the file's "},
		{"many notes", kerneltest.VMLinux(make([]byte, maxNotes+1)), "kernel has 1048577 bytes of notes, want at most 1048576"},

		{"bzImage cut in the header", goodBz()[:headerSize-1], "591 bytes are too few for a bzImage"},
		{"bzImage cut behind the header", goodBz()[:headerSize], "version text at 768 is outside of the file"},
		{"bzImage cut in the payload", goodBz()[:len(goodBz())-9], "payload of "},
		{"old boot protocol", changed(goodBz(), offsetVersion, "\x07"), "boot protocol is 0x207, want at least 0x208"},
		{"payload longer than the file", changed(goodBz(), offsetPayloadLength+3, "\xff"), "payload of "},
		{"payload behind the file", changed(goodBz(), offsetPayload, "\xff\xff\xff\xff"), "payload of "},
		{"sum beyond 32 bits", changed(goodBz(), offsetPayload, "\xff\xff\xff\xff\xff\xff\xff\xff"), "payload of 4294967295 bytes at 4294968831 is outside of the file's "},
		{"payload too short", changed(goodBz(), offsetPayloadLength, "\x07\x00\x00\x00"), "payload has 7 bytes"},
		{"version text behind the file", changed(goodBz(), offsetKernelVersion, "\xff\xff"), "version text at 66047 is outside of the file"},
		{"version text empty", changed(goodBz(), kerneltest.BzVersion, "\x00"), "no version text at 768"},
		{"version text starts with a space", changed(goodBz(), kerneltest.BzVersion, " "), "no version text at 768"},
		{"version text has no end", noVersion, "no version text at 768"},

		{"Image of no size", changed(goodImage(), offsetImageSize, "\x00\x00"), "arm64 Image says that it takes 0 bytes of memory, want 1 to 268435456"},
		{"Image of huge size", changed(goodImage(), offsetImageSize+7, "\x01"), "arm64 Image says that it takes 72057594037928107 bytes of memory, want 1 to 268435456"},
		{"Image is big-endian", changed(goodImage(), offsetFlags, "\x01"), "arm64 Image is big-endian, want little-endian"},
		{"Image with a bad EFI stub", changed(goodImage(), 0, "MZ"), "read EFI header: "},

		{"vmlinux.gz", kerneltest.Gzip(goodELF()), `gzip holds no arm64 Image, but what starts with "\x7fELF"`},
		{"gzip of little", kerneltest.Gzip(make([]byte, 63)), "read arm64 Image in gzip: unexpected EOF"},
		{"gzip cut", kerneltest.Gzip(goodImage())[:100], "decompress payload: unexpected EOF"},
		{"bytes behind gzip", append(kerneltest.Gzip(goodImage()), "behind"...), "decompress payload: "},
		{"gzip of a bad Image", kerneltest.Gzip(changed(goodImage(), offsetFlags, "\x01")), "arm64 Image is big-endian, want little-endian"},
		{"zboot cut", kerneltest.ZBoot("gzip", kerneltest.Gzip(goodImage()))[:0x120], "payload of "},
		{"zboot of another compression", kerneltest.ZBoot("lz4", kerneltest.Gzip(goodImage())), `payload is gzip, and the header says "lz4"`},
		{"zboot of xz", kerneltest.ZBoot("xzkern", []byte("\xfd7zXZ\x00")), "payload is xz, want gzip, lz4 or zstd"},
		{"zboot of nothing", kerneltest.ZBoot("gzip", nil), "payload has unknown magic , want gzip, lz4 or zstd"},

		{"configuration without end", kerneltest.Image([]byte("IKCFG_ST\x1f\x8b")), "embedded configuration has no end within 1048576 bytes"},
		{"configuration damaged", kerneltest.Image([]byte("IKCFG_ST\x1f\x8bIKCFG_ED")), "read embedded configuration: unexpected EOF"},
		{"configuration too large", kerneltest.Image(kerneltest.Config(strings.Repeat("#", maxConfig+1))), "read embedded configuration: it has more than 4194304 bytes"},
	}
	for _, test := range tests {
		if info, err := inspect(test.data); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %+v, error %v, want %s", test.name, info, err, test.want)
		}
	}
	if _, err := Inspect(bytes.NewReader(nil), MaxSize+1); err == nil || err.Error() != "kernel has 268435457 bytes, want at most 268435456" {
		t.Errorf("file too large: got error %v", err)
	}
}

func TestUnpackRejects(t *testing.T) {
	image := goodELF()
	for name, packed := range map[string][]byte{"lz4": kerneltest.LZ4(image), "zstd": kerneltest.Zstd(image)} {
		flipped := bytes.Clone(packed)
		flipped[4] ^= 0xff // lz4: the size of the block; zstd: the frame's header
		const noEnd, decompress = "payload does not end after the ", "decompress payload: "
		tests := []struct {
			name    string
			payload []byte
			want    string
		}{
			{"size is one less", kerneltest.Sized(packed, len(image)-1), noEnd},
			{"size is nothing", kerneltest.Sized(packed, 0), noEnd},
			{"size is one more", kerneltest.Sized(packed, len(image)+1), noEnd},
			{"size is the limit", kerneltest.Sized(packed, MaxSize), noEnd},
			{"size is over the limit", kerneltest.Sized(packed, MaxSize+1), "payload unpacks to 268435457 bytes, want at most 268435456"},
			{"bytes behind the payload", kerneltest.Sized(append(bytes.Clone(packed), "garbage!"...), len(image)), ""},
			{"cut", kerneltest.Sized(packed[:len(packed)-1], len(image)), decompress},
			{"damaged", kerneltest.Sized(flipped, len(image)), decompress},
		}
		for _, test := range tests {
			if _, err := unpack(kerneltest.BzImage(test.payload)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%s: %s: got error %v, want %s", name, test.name, err, test.want)
			}
		}
	}
}

func TestRecognize(t *testing.T) {
	archive := append([]byte("0707010"), make([]byte, 200)...)
	tests := []struct {
		name string
		data []byte
		want bool
	}{
		{"vmlinux", goodELF(), true},
		{"bzImage", goodBz(), true},
		{"Image", goodImage(), true},
		{"Image.gz", kerneltest.Gzip(goodImage()), true},
		{"vmlinux.gz", kerneltest.Gzip(goodELF()), true},
		{"zboot", kerneltest.ZBoot("gzip", kerneltest.Gzip(goodImage())), true},
		{"archive", archive, false},
		{"archive in gzip", kerneltest.Gzip(archive), false},
		{"padding in gzip", kerneltest.Gzip(archive[7:]), false},
		{"gzip damaged", append([]byte("\x1f\x8b"), archive...), false},
		{"zstd", kerneltest.Zstd(archive), false},
		{"empty", nil, false},
	}
	for _, test := range tests {
		if got := Recognize(bytes.NewReader(test.data), int64(len(test.data))); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// TestBzImageDefault checks the meaning of no set-up sectors.
func TestBzImageDefault(t *testing.T) {
	payload := kerneltest.Sized(kerneltest.Zstd(goodELF()), len(goodELF()))
	image := append(kerneltest.BzImage(nil), make([]byte, 8*sector)...)
	image[offsetSetupSects] = 0
	binary.LittleEndian.PutUint32(image[offsetPayload:], 0)
	binary.LittleEndian.PutUint32(image[offsetPayloadLength:], uint32(len(payload)))
	copy(image[5*sector:], payload)
	if got, err := unpack(image); err != nil || !bytes.Equal(got, goodELF()) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestCut cuts good kernels everywhere: it must end in an error as long as the
// part that its headers speak of is not whole.
func TestCut(t *testing.T) {
	bz := goodBz()
	for name, test := range map[string]struct {
		data  []byte
		whole int
	}{
		"vmlinux": {goodELF(), 64 + 56 + len(kerneltest.PVH())},
		"bzImage": {bz, len(bz) - 8},
		"gzip":    {kerneltest.Gzip(goodImage()), len(kerneltest.Gzip(goodImage()))},
	} {
		for size := range test.whole {
			if info, err := inspect(test.data[:size]); err == nil {
				t.Errorf("%s cut at %d: got %+v", name, size, info)
			}
		}
	}
}

func TestHypervisors(t *testing.T) {
	both := []Hypervisor{CloudHypervisor, QEMU}
	tests := []struct {
		name string
		data []byte
		want []Hypervisor
	}{
		{"vmlinux", goodELF(), both},
		{"vmlinux without note", kerneltest.VMLinux(), nil},
		{"vmlinux of arm64", kerneltest.ELF(elf.EM_AARCH64, elf.ET_DYN, elf.PT_LOAD, nil), nil},
		{"bzImage", goodBz(), []Hypervisor{QEMU}},
		{"Image", goodImage(), both},
		{"Image.gz", kerneltest.Gzip(goodImage()), []Hypervisor{QEMU}},
		{"zboot", kerneltest.ZBoot("gzip", kerneltest.Gzip(goodImage())), nil},
	}
	for _, test := range tests {
		info, err := inspect(test.data)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.want, info.Hypervisors()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCheckLoadable(t *testing.T) {
	tests := []struct {
		name string
		info Info
		by   Hypervisor
		arch string
		want string
	}{
		{"fits", Info{Format: ELF, Arch: "x86_64", PVH: true}, CloudHypervisor, "x86_64", ""},
		{"no note", Info{Format: ELF, Arch: "x86_64"}, QEMU, "x86_64", "kernel has no PVH note (owner Xen, type 18): it cannot be booted as an ELF file"},
		{"bzImage to a PVH-only loader", Info{Format: BzImage, Arch: "x86_64"}, CloudHypervisor, "x86_64", "kernel is of format bzImage, which cloud-hypervisor does not load on x86_64"},
		{"Image for x86", Info{Format: Image, Arch: "aarch64"}, QEMU, "x86_64", "kernel is for aarch64, want x86_64"},
		{"vmlinux of arm64", Info{Format: ELF, Arch: "aarch64"}, QEMU, "aarch64", "kernel is of format elf, which qemu does not load on aarch64"},
	}
	for _, test := range tests {
		err := test.info.CheckLoadable(test.by, test.arch)
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

// TestManyBanners checks that what only looks like a banner costs little.
func TestManyBanners(t *testing.T) {
	data := append(goodELF()[:64+56+len(kerneltest.PVH())], bytes.Repeat([]byte("Linux version 6.1 ("), 1<<20)...)
	info, err := inspect(data)
	if err != nil || info.Release != "" || !info.PVH {
		t.Errorf("got %+v, %v, want a kernel without release", info, err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(goodELF())
	f.Add(append(goodELF(), kerneltest.Config(config)...))
	f.Add(goodBz())
	f.Add(bzOf(kerneltest.LZ4, goodELF()))
	f.Add(kerneltest.BzImage(kerneltest.Gzip(goodELF())))
	f.Add(goodImage())
	f.Add(kerneltest.Gzip(goodImage()))
	f.Add(kerneltest.ZBoot("zstd22", kerneltest.Zstd(goodImage())))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := inspect(data)
		if err != nil {
			if info != nil {
				t.Errorf("got %+v and error %v", info, err)
			}
			return
		}
		if strings.ContainsAny(info.Release, " \x00") || !strings.HasPrefix(info.Banner, info.Release) {
			t.Errorf("release %q of banner %q", info.Release, info.Banner)
		}
		kernel, err := unpack(data)
		if err != nil {
			t.Fatalf("unpack what could be read: %v", err)
		}
		if info.Compression == "" && !bytes.Equal(kernel, data) {
			t.Errorf("unpacking changed what is not compressed")
		}
	})
}
