package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

const (
	sumA = "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="
	sumB = "h1:/7Jum36UA6V043tQZ/fE3jf+Nf9gn/qxUFfd7QReMy8="

	baseListing = `#mtree
./bin type=dir mode=0755 uid=0 gid=0
./bin/\133 type=link mode=0777 uid=0 gid=0 link=busybox
./bin/busybox type=file mode=0755 uid=0 gid=0 size=1 sha256digest=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
`
	modulesListing = `#mtree
./etc type=dir mode=0755 uid=0 gid=0
./etc/modules type=file mode=0444 uid=0 gid=0 size=1 sha256digest=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
`
	headersListing = `#mtree
./usr type=dir mode=0755 uid=0 gid=0
./usr/src type=dir mode=0755 uid=0 gid=0
./usr/src/common type=dir mode=0755 uid=0 gid=0
./usr/src/common/a.h type=file mode=0644 uid=0 gid=0 size=1 sha256digest=cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc nlink=2
./usr/src/headers type=link mode=0777 uid=0 gid=0 link=common
`
	programsListing = `#mtree
./init type=file mode=0555 uid=0 gid=0
./usr type=dir mode=0755 uid=0 gid=0
./usr/bin type=dir mode=0755 uid=0 gid=0
./usr/bin/agent type=file mode=0555 uid=0 gid=0
`
	initInfo = "path\tgithub.com/kindling-vm/kindling/guest/init\nmod\tgithub.com/kindling-vm/kindling\t(devel)\t\n" +
		"dep\tgolang.org/x/sys\tv0.49.0\t\n"
	agentInfo = "path\tgithub.com/kindling-vm/kindling/guest/agent\nmod\tgithub.com/kindling-vm/kindling\t(devel)\t\n" +
		"dep\tgithub.com/mdlayher/vsock\tv1.4.0\t" + sumB + "\ndep\tgolang.org/x/sys\tv0.49.0\t" + sumA + "\n"
)

// artifacts of the lock, of which every one exists for both architectures or for
// all.
func artifacts() []lock.Artifact {
	digest := strings.Repeat("1", 64)
	var list []lock.Artifact
	for _, a := range []lock.Artifact{
		{Name: "busybox", Kind: lock.Base, Version: "1:1.35.0-4+deb12u1+b1", License: "GPL-2.0-only", SHA256: digest, Size: 1,
			Package: "busybox-static", Path: "pool/main/b/busybox/busybox-static_1.35.0-4+deb12u1+b1.deb"},
		{Name: "ch", Kind: lock.Kernel, Version: "6.12", License: "GPL-2.0-only WITH Linux-syscall-note",
			URLs: []string{"https://example.org/vmlinux", "https://example.net/vmlinux"}},
		{Name: "headers", Kind: lock.Headers, Version: "6.1.176-1", License: "GPL-2.0-only", SHA256: digest, Size: 1,
			Package: "linux-headers", Path: "pool/main/l/linux/linux-headers.deb"},
		{Name: "headers-common", Arch: lock.All, Kind: lock.Headers, Version: "6.1.176-1", License: "GPL-2.0-only",
			SHA256: digest, Size: 1, Package: "linux-headers-common", Path: "pool/main/l/linux/linux-headers-common.deb"},
		{Name: "image", Arch: lock.All, Kind: lock.Headers, Version: "1", License: "MIT", SHA256: digest, Size: 1,
			Package: "image", Path: "pool/main/i/image.deb"},
		{Name: "linux", Kind: lock.Kernel, Version: "6.1.176-1", License: "GPL-2.0-only", SHA256: digest, Size: 1,
			Package: "linux-image", Path: "pool/main/l/linux/linux-image.deb", Headers: []string{"headers", "headers-common"}},
		{Name: "rootfs", Kind: lock.Base, Version: "3.22.5", License: "MIT AND GPL-2.0-only", SHA256: digest, Size: 1,
			URLs: []string{"https://example.org/rootfs.tar.gz", "https://example.net/rootfs.tar.gz"}},
	} {
		if a.Arch != "" {
			list = append(list, a)
			continue
		}
		for _, arch := range []string{"aarch64", "x86_64"} {
			a.Arch = arch
			list = append(list, a)
		}
	}
	return list
}

// goProgram is an ELF file that says which Go made it and, as go build does, what
// of. The form is that of debug/buildinfo.
func goProgram(version, info string) []byte {
	if info != "" {
		mark := strings.Repeat("m", 16)
		info = mark + info + mark
	}
	data := make([]byte, 32)
	copy(data, "\xff Go buildinf:\x08\x02")
	for _, text := range []string{version, info} {
		data = binary.AppendUvarint(data, uint64(len(text)))
		data = append(data, text...)
	}
	data = append(data, make([]byte, binary.MaxVarintLen64)...) // programs go on behind it
	program := elftest.Image(elf.EM_X86_64, elf.ET_EXEC, elf.PT_LOAD, data)
	program[64+4] = byte(elf.PF_R | elf.PF_W) // flags of the segment: it is data
	return program
}

// fixture is a folder with inputs of the tool.
type fixture struct {
	t   *testing.T
	dir string
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// write makes an input file and returns its path.
func (f *fixture) write(name string, data string) string {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(data), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

func (f *fixture) read(name string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// newFixture makes the inputs of a set with everything in it but an image.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t, t.TempDir()}
	document := lock.Lock{
		Profiles: map[string]lock.Profile{
			"debian": {Base: "busybox", Kernel: "linux"}, "mixed": {Base: "rootfs", Kernel: "linux"},
		},
		Artifacts: artifacts(),
	}
	data, err := document.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	f.write("lock.json", string(data))
	f.write("go.sum", "golang.org/x/sys v0.49.0 "+sumA+"\ngolang.org/x/sys v0.49.0/go.mod "+sumB+"\n")
	f.write("base.mtree", baseListing)
	f.write("modules.mtree", modulesListing)
	f.write("headers.mtree", headersListing)
	f.write("programs.mtree", programsListing)
	f.write("init", string(goProgram("go1.26.8", "")))
	f.write("init.info", initInfo)
	f.write("agent", string(goProgram("go1.26.8 X:nodwarf5", agentInfo)))
	for _, name := range []string{"vmlinux", "kernel.json", "initrd.cpio", "base.tar", "headers.tar"} {
		f.write(name, name)
	}
	return f
}

// args are the flags of that set.
func (f *fixture) args() []string {
	return []string{
		"--name=kindling", "--version=v1.2.3", "--arch=x86_64", "--profile=debian", "--lock=" + f.path("lock.json"),
		"--artifact=kernel=linux", "--artifact=base=busybox", "--artifact=headers=headers", "--artifact=headers=headers-common",
		"--file=kernel=" + f.path("vmlinux"), "--file=initrd=" + f.path("initrd.cpio"),
		"--file=kernel-info=" + f.path("kernel.json"), "--file=base=" + f.path("base.tar"), "--file=headers=" + f.path("headers.tar"),
		"--segment=base=" + f.path("base.mtree"), "--owner=base:/=busybox",
		"--segment=modules=" + f.path("modules.mtree"), "--owner=modules:/=linux",
		"--segment=headers=" + f.path("headers.mtree"),
		"--owner=headers:/usr/src/common=headers-common", "--owner=headers:/usr/src/headers=headers",
		"--segment=programs=" + f.path("programs.mtree"),
		"--binary=/init=" + f.path("init"), "--buildinfo=/init=" + f.path("init.info"),
		"--binary=/usr/bin/agent=" + f.path("agent"), "--go-sum=" + f.path("go.sum"),
	}
}

// imageArgs are the flags of that set with an image as its base.
func (f *fixture) imageArgs() []string {
	return append(without(f.args(), "--artifact=base", "--owner=base"),
		"--image=registry.example/library/base@sha256:"+strings.Repeat("2", 64),
		"--layer=sha256:"+strings.Repeat("4", 64), "--layer=sha256:"+strings.Repeat("3", 64), "--owner=base:/=image")
}

// rootfsArgs are those with a base that has URLs.
func (f *fixture) rootfsArgs() []string {
	return append(without(f.args(), "--artifact=base", "--owner=base", "--profile"),
		"--profile=mixed", "--artifact=base=rootfs", "--owner=base:/=rootfs")
}

// run calls the tool with outputs in the folder.
func (f *fixture) run(args []string) error {
	var stdout, stderr bytes.Buffer
	args = append([]string{"--sbom=" + f.path("sbom.json"), "--provenance=" + f.path("provenance.json")}, args...)
	err := run(args, &stdout, &stderr)
	if stdout.Len() != 0 {
		f.t.Errorf("stdout has %q", stdout.String())
	}
	return err
}

// make calls the tool and gives the SBOM.
func (f *fixture) make(args []string) *cyclonedx.BOM {
	f.t.Helper()
	if err := f.run(args); err != nil {
		f.t.Fatal(err)
	}
	var document cyclonedx.BOM
	decoder := cyclonedx.NewBOMDecoder(bytes.NewReader(f.read("sbom.json")), cyclonedx.BOMFileFormatJSON)
	if err := decoder.Decode(&document); err != nil {
		f.t.Fatal(err)
	}
	return &document
}

// byRef gives components as JSON by their references.
func byRef(t *testing.T, document *cyclonedx.BOM) map[string]string {
	t.Helper()
	components := map[string]string{}
	for _, component := range *document.Components {
		data, err := json.MarshalIndent(component, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if components[component.BOMRef] != "" {
			t.Errorf("reference %s stands twice", component.BOMRef)
		}
		components[component.BOMRef] = string(data)
	}
	return components
}

// without leaves out the flags with a prefix.
func without(args []string, prefixes ...string) []string {
	var left []string
	for _, arg := range args {
		keep := true
		for _, prefix := range prefixes {
			keep = keep && !strings.HasPrefix(arg, prefix)
		}
		if keep {
			left = append(left, arg)
		}
	}
	return left
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
