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

func TestArtifactHelp(t *testing.T) {
	for _, verb := range []string{"", "ls", "cat", "size", "diff"} {
		newHost(t)
		args := append([]string{"artifact"}, strings.Fields(verb+" --help")...)
		testdata, err := filepath.Abs("testdata")
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, filepath.Join(testdata, strings.TrimSuffix("help_artifact_"+verb, "_")+".txt"), 0, kindling(args...))
	}
}

func TestArtifactOutput(t *testing.T) {
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	writeSides(t)
	tests := []struct {
		golden string
		code   int
		args   []string
	}{
		{"ls.txt", 0, []string{"ls", "before/x86_64/initrd", "before/x86_64/kernel", "bzImage", "Image.gz", "before"}},
		{"ls.json", 0, []string{"ls", "-o", "json", "before/x86_64/initrd", "bzImage", "before/manifest.json"}},
		{"size.txt", 0, []string{"size", "before/x86_64/initrd", "bzImage", "after"}},
		{"size.json", 0, []string{"size", "--output=json", "after"}},
		{"diff_initrd.txt", 1, []string{"diff", "before/x86_64/initrd", "after/x86_64/initrd"}},
		{"diff_kernel.txt", 1, []string{"diff", "before/x86_64/kernel", "after/x86_64/kernel"}},
		{"diff_format.txt", 1, []string{"diff", "before/x86_64/kernel", "bzImage"}},
		{"diff_set.txt", 1, []string{"diff", "before", "after/manifest.json"}},
		{"diff_set.json", 1, []string{"diff", "-o", "json", "before", "after"}},
		{"diff_same.txt", 0, []string{"diff", "before", "before"}},
		{"diff_same.json", 0, []string{"diff", "-o", "json", "bzImage", "bzImage"}},
	}
	for _, test := range tests {
		compareGolden(t, filepath.Join(testdata, "artifact", test.golden), test.code, kindling(append([]string{"artifact"}, test.args...)...))
	}
}

// compareGolden compares what a user sees with a file.
func compareGolden(t *testing.T, path string, code int, got result) {
	t.Helper()
	if *update {
		writeFile(t, path, []byte(got.Stdout))
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(result{code, string(want), ""}, got); diff != "" {
		t.Errorf("(-%s +got; go test ./cmd/kindling -update writes it):\n%s", path, diff)
	}
}

func TestArtifactOutputEnvironment(t *testing.T) {
	writeSides(t)
	t.Setenv("KINDLING_OUTPUT", "json")
	if got := kindling("artifact", "diff", "bzImage", "bzImage"); got.Code != 0 || !strings.HasPrefix(got.Stdout, "{\n") {
		t.Errorf("got %+v, want JSON", got)
	}
}

func TestArtifactCat(t *testing.T) {
	writeSides(t)
	tests := []struct {
		args []string
		want result
	}{
		{[]string{"before/x86_64/initrd", "etc/old name"}, result{0, "old\n", ""}},
		{[]string{"before/x86_64/initrd", "/bin/sh"}, result{0, "busybox of the second segment", ""}},
		{[]string{"before/x86_64/kernel", "config"}, result{0, "# x\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"c\"\n", ""}},
		{[]string{"before/x86_64/initrd", "etc/none"}, result{125, "", `read initrd before/x86_64/initrd: find "etc/none": "etc/none" does not exist`}},
		{[]string{"before/x86_64/initrd", "etc"}, result{125, "", `read initrd before/x86_64/initrd: print "etc": it is no regular file (drwxrwxrwt)`}},
		{[]string{"bzImage", "config"}, result{125, "", "read kernel bzImage: it has no configuration embedded: it was built without CONFIG_IKCONFIG"}},
		{[]string{"bzImage", "release"}, result{2, "", `got "release", and of a kernel only config can be printed`}},
		{[]string{"before", "config"}, result{2, "", "before is an artifact set: name one of its files"}},
		{[]string{"nothing", "config"}, result{125, "", "read initrd nothing: initrd has no segment"}},
	}
	for _, test := range tests {
		if test.want.Stderr != "" {
			test.want.Stderr = "kindling: " + test.want.Stderr + "\n"
		}
		if diff := cmp.Diff(test.want, kindling(append([]string{"artifact", "cat"}, test.args...)...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestArtifactRejects(t *testing.T) {
	writeSides(t)
	damaged := artifactSides()["before"]
	writeFile(t, "cut.initrd", damaged[bundle.Initrd][:200])
	writeFile(t, "cut.kernel", damaged[bundle.Kernel][:130])
	writeFile(t, "after/x86_64/initrd", damaged[bundle.Initrd])
	writeFile(t, "empty/manifest.json", []byte("{}"))
	writeFile(t, "huge.json", append([]byte("{"), make([]byte, maxManifest)...))
	if err := os.Mkdir("folder", 0o755); err != nil {
		t.Fatal(err)
	}
	sum := func(kind bundle.Kind, side string) string {
		file, err := bundle.Describe(os.DirFS(side), kind, "x86_64/"+string(kind))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s (%d bytes)", file.SHA256, file.Size)
	}
	original := artifactSides()["after"][bundle.Initrd]
	writeFile(t, "original/x86_64/initrd", original)
	mismatch := fmt.Sprintf("initrd x86_64/initrd has SHA-256 %s, want %s", sum(bundle.Initrd, "after"), sum(bundle.Initrd, "original"))
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no verb", []string{"list"}, 2, `unknown command "list" for "kindling artifact"`},
		{"nothing to list", []string{"ls"}, 2, "requires at least 1 arg(s), only received 0"},
		{"one to compare", []string{"diff", "before"}, 2, "accepts 2 arg(s), received 1"},
		{"format", []string{"size", "-o", "yaml", "bzImage"}, 2, `--output is "yaml", want table or json`},
		{"unlike", []string{"diff", "bzImage", "before"}, 2, "cannot compare bzImage, which is of kind kernel, with before, which is of kind set"},
		{"no file", []string{"ls", "none"}, 125, "stat none: no such file or directory"},
		{"folder without manifest", []string{"ls", "folder"}, 125, "open folder/manifest.json: no such file or directory"},
		{"device", []string{"ls", os.DevNull}, 125, "open /dev/null: it is no regular file"},
		{"empty file", []string{"size", "nothing"}, 125, "read initrd nothing: initrd has no segment"},
		{"initrd cut", []string{"ls", "bzImage", "cut.initrd"}, 125, `read initrd cut.initrd: read segment 0 at 0: entry "" at 116: read header: unexpected EOF`},
		{"kernel cut", []string{"ls", "cut.kernel"}, 125, "read kernel cut.kernel: program header 0 (PT_NOTE) of 20 bytes at 120 is outside of the file's 130 bytes"},
		{"empty manifest", []string{"ls", "empty"}, 125, "open empty/manifest.json: manifest has version 0, want 1"},
		{"huge manifest", []string{"ls", "huge.json"}, 125, "open huge.json: manifest has 1048577 bytes, want at most 1048576"},
		{"set was changed", []string{"size", "after"}, 125, mismatch},
		{"set to compare was changed", []string{"diff", "before", "after"}, 125, mismatch},
	}
	for _, test := range tests {
		want := result{test.code, "", "kindling: " + test.want + "\n"}
		if diff := cmp.Diff(want, kindling(append([]string{"artifact"}, test.args...)...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
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
