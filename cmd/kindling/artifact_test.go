package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs/initramfstest"
	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system/bundle"
)

// goProgram is an ELF file with the description of a Go program, as package
// debug/buildinfo reads it.
func goProgram(goVersion, modules string) string {
	info := append([]byte("\xff Go buildinf:\x08\x02"), make([]byte, 16)...)
	const sentinel = "0123456789abcdef"
	for _, text := range []string{goVersion, sentinel + modules + sentinel} {
		info = append(binary.AppendUvarint(info, uint64(len(text))), text...)
	}
	program := kerneltest.ELF(elf.EM_X86_64, elf.ET_EXEC, elf.PT_LOAD, info)
	binary.LittleEndian.PutUint32(program[64+4:], uint32(elf.PF_R|elf.PF_W))
	return string(program)
}

const oldModules = "path\texample.org/agent\nmod\texample.org/agent\t(devel)\t\n" +
	"dep\tgolang.org/x/net\tv0.1.0\th1:a\ndep\tgolang.org/x/sys\tv0.48.0\th1:b\n"

// artifactSides are the files of two artifact sets, before and after a change.
func artifactSides() map[string]map[bundle.Kind][]byte {
	type entry = initramfstest.Entry
	base := []entry{
		{Name: "bin", Mode: 0o040755, Nlink: 2},
		{Name: "bin/busybox", Mode: 0o104755, Data: "busybox"},
		{Name: "bin/sh", Mode: 0o120777, Data: "busybox"},
		{Name: "dev/null", Mode: 0o020666, RdevMajor: 1, RdevMinor: 3},
		{Name: "etc", Mode: 0o041777, Nlink: 2},
		{Name: "etc/old name", Mode: 0o100600, UID: 1000, GID: 100, Data: "old\n"},
		{Name: "etc/\x1b[2J", Data: "escape"},
	}
	agent := func(goVersion, modules string) []byte {
		return initramfstest.Archive(
			entry{Name: "bin/agent", Mode: 0o100555, Data: goProgram(goVersion, modules)},
			entry{Name: "bin/busybox", Mode: 0o100755, Data: "busybox of the second segment"},
		)
	}
	newModules := strings.NewReplacer("v0.48.0", "v0.49.0", "golang.org/x/net\tv0.1.0\th1:a", "golang.org/x/text\tv0.2.0\t\n=>\texample.org/text\tv1.0.0\th1:c").Replace(oldModules)
	changed := append([]entry{{Name: "bin", Mode: 0o040700, Nlink: 2}}, base[1:2]...)
	changed = append(changed, entry{Name: "bin/sh", Mode: 0o120777, Data: "bash"}, base[3], base[4], entry{Name: "etc/new", Data: "new\n"}, base[6])
	sbom := func(version string) []byte {
		return fmt.Appendf(nil, `{"bomFormat": "CycloneDX", "components": [
  {"name": "golang.org/x/sys", "version": %q}, {"name": "stdlib", "version": "1.26.8"}, {"name": "initrd"}
]}`, version)
	}
	return map[string]map[bundle.Kind][]byte{
		"before": {
			bundle.Initrd: append(initramfstest.Archive(base...), initramfstest.Zstd(agent("go1.26.7", oldModules))...),
			bundle.Kernel: append(kerneltest.VMLinux(kerneltest.PVH()), kerneltest.Config("# x\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"c\"\n")...),
			bundle.SBOM:   sbom("v0.48.0"),
			bundle.Base:   []byte("base"),
		},
		"after": {
			bundle.Initrd:  append(initramfstest.Archive(changed...), initramfstest.Gzip(agent("go1.26.8", newModules))...),
			bundle.Kernel:  append(kerneltest.VMLinux(), kerneltest.Config("CONFIG_A=m\n# CONFIG_B is not set\nCONFIG_D=1\n")...),
			bundle.SBOM:    sbom("v0.49.0"),
			bundle.Headers: []byte("headers"),
		},
	}
}

// writeSides writes the sets and some kernels to a folder, and goes there.
func writeSides(t *testing.T) {
	t.Helper()
	newHost(t)
	t.Chdir(t.TempDir())
	writeArtifactSides(t, ".")
}

// writeArtifactSides writes the sets and some kernels to a folder.
func writeArtifactSides(t *testing.T, dir string) {
	t.Helper()
	for side, files := range artifactSides() {
		arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0 " + side}
		for kind, data := range files {
			file := writeFile(t, filepath.Join(dir, side, "x86_64", string(kind)), data)
			described, err := bundle.Describe(os.DirFS(filepath.Join(dir, side)), kind, "x86_64/"+string(kind))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			arch.Files = append(arch.Files, described)
		}
		manifest := bundle.Manifest{Version: bundle.Version, AgentProtocol: "test", Architectures: []bundle.Architecture{arch}}
		data, err := manifest.MarshalCanonical()
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, side, "manifest.json"), data)
	}
	vmlinux := kerneltest.VMLinux(kerneltest.PVH())
	writeFile(t, filepath.Join(dir, "bzImage"), kerneltest.BzImage(kerneltest.Sized(kerneltest.Zstd(vmlinux), len(vmlinux))))
	writeFile(t, filepath.Join(dir, "Image.gz"), kerneltest.Gzip(kerneltest.Image()))
	writeFile(t, filepath.Join(dir, "nothing"), nil)
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReadComponents(t *testing.T) {
	tests := []struct {
		name, sbom string
		want       map[string]string
		wantErr    string
	}{
		{"versions", `{"bomFormat": "CycloneDX", "components": [{"name": "a", "version": "2"}, {"name": "a", "version": "1"}, {"name": "a", "version": "1"}, {"name": "b"}]}`, map[string]string{"a": "1, 2"}, ""},
		{"nothing", `{"bomFormat": "CycloneDX"}`, map[string]string{}, ""},
		{"another format", `{"spdxVersion": "SPDX-2.3"}`, nil, `parse SBOM: format is "", want CycloneDX`},
		{"no JSON", `<bom/>`, nil, "parse SBOM: invalid character '<' looking for beginning of value"},
	}
	for _, test := range tests {
		got, err := readComponents(strings.NewReader(test.sbom))
		if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.wantErr)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestModeString(t *testing.T) {
	tests := []struct {
		mode uint32
		want string
	}{
		{0o100644, "-rw-r--r--"}, {0o040755, "drwxr-xr-x"}, {0o120777, "lrwxrwxrwx"}, {0o020620, "crw--w----"}, {0o060660, "brw-rw----"},
		{0o010600, "prw-------"}, {0o140755, "srwxr-xr-x"}, {0o104755, "-rwsr-xr-x"}, {0o102644, "-rw-r-Sr--"}, {0o041777, "drwxrwxrwt"}, {0o107000, "---S--S--T"},
	}
	for _, test := range tests {
		if got := modeString(test.mode); got != test.want {
			t.Errorf("%o: got %s, want %s", test.mode, got, test.want)
		}
	}
}

// TestArtifactReadsOnly checks that nothing is written beside the files.
func TestArtifactReadsOnly(t *testing.T) {
	writeSides(t)
	files := func() (names []string) {
		err := fs.WalkDir(os.DirFS("."), ".", func(name string, _ fs.DirEntry, err error) error {
			names = append(names, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	before := files()
	kindling("artifact", "diff", "before", "after")
	if diff := cmp.Diff(before, files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
