package system

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// elfKernel is an ELF file with one segment.
func elfKernel(t *testing.T, machine elf.Machine, segment int) []byte {
	t.Helper()
	var data bytes.Buffer
	header := elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: uint16(machine),
		Version: uint32(elf.EV_CURRENT),
		Phoff:   64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	prog := elf.Prog64{Type: uint32(elf.PT_LOAD), Off: 120, Filesz: uint64(segment), Memsz: uint64(segment)}
	for _, part := range []any{header, prog, make([]byte, segment)} {
		if err := binary.Write(&data, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return data.Bytes()
}

// newcArchive is an uncompressed initrd with the programs of a hypeman host.
func newcArchive(programs map[string]string) []byte {
	var data bytes.Buffer
	pad := func() {
		for data.Len()%4 != 0 {
			data.WriteByte(0)
		}
	}
	for _, name := range []string{"usr/local/bin/guest-agent", "init.bin", "init", "TRAILER!!!"} {
		data.WriteString("070701")
		for i := range 13 {
			fmt.Fprintf(&data, "%08X", map[int]int{6: len(programs[name]), 11: len(name) + 1}[i])
		}
		data.WriteString(name + "\x00")
		pad()
		data.WriteString(programs[name])
		pad()
	}
	return data.Bytes()
}

func TestAdopt(t *testing.T) {
	programs := map[string]string{"usr/local/bin/guest-agent": "agent", "init.bin": "binary", "init": "#!/bin/sh"}
	initrd := newcArchive(programs)
	sum := sha256.Sum256([]byte("agent" + "binary" + "#!/bin/sh" + KernelHeaderURLs[Kernel_202602101]["x86_64"]))
	kernel := elfKernel(t, elf.EM_X86_64, 1000)
	image := make([]byte, 4096)
	copy(image[56:], "ARM\x64")
	later := "ch-6.12.8-kernel-1.5-202603091"
	dataDir := t.TempDir()
	for name, data := range map[string][]byte{
		"kernel/" + string(Kernel_202601152) + "/x86_64/vmlinux": kernel[:900],
		"kernel/" + string(Kernel_202602101) + "/x86_64/vmlinux": kernel,
		"kernel/" + string(Kernel_202602101) + "/aarch64/Image":  image,
		"kernel/" + later + "/x86_64/vmlinux":                    kernel,
		"initrd/x86_64/1700000000/initrd":                        initrd,
		"initrd/x86_64/1700000000/.hash":                         []byte(hex.EncodeToString(sum[:])[:16]),
		"initrd/x86_64/1700000000000000000/initrd":               initrd,
		"initrd/x86_64/1700000000000000000/.hash":                []byte("0123456789abcdef"),
		"initrd/x86_64/1700000001/initrd":                        initrd[:len(initrd)-20],
		"initrd/x86_64/1600000000/initrd":                        []byte("\x1f\x8b compressed"),
		"initrd/x86_64/1650000000/initrd":                        []byte("<html>"),
		"initrd/x86_64/1600000000/.hash":                         []byte("0123456789abcdef"),
	} {
		writeFile(t, filepath.Join(dataDir, "system", name), data)
	}
	if err := os.Symlink("1700000000", filepath.Join(dataDir, "system/initrd/x86_64/latest")); err != nil {
		t.Fatal(err)
	}
	s := NewStore(dataDir, Options{KernelVersion: Kernel_202602101})
	adopted, err := s.Adopt(t.Context())
	for _, text := range []string{
		"system/kernel/" + string(Kernel_202601152) + "/x86_64/vmlinux is corrupt: it is no whole ELF file: a segment ends behind its end; it is now ",
		"system/initrd/x86_64/1650000000/initrd is corrupt: it is no whole initrd: it ends in the header at byte 0",
		"system/initrd/x86_64/1700000001/initrd is corrupt: it is no whole initrd: it ends in ",
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got error %v, want it to have %q", err, text)
		}
	}
	got := map[string]string{}
	for _, file := range adopted {
		got[strings.TrimPrefix(file.Path, dataDir+"/system/")] = file.Vouched
		if file.Pinned {
			t.Errorf("%s is pinned", file.Path)
		}
	}
	const unpinned = "unpinned: nobody has said what bytes it should have"
	want := map[string]string{
		"kernel/" + string(Kernel_202602101) + "/x86_64/vmlinux": unpinned,
		"kernel/" + string(Kernel_202602101) + "/aarch64/Image":  unpinned,
		"kernel/" + later + "/x86_64/vmlinux":                    unpinned,
		"initrd/x86_64/1700000000/initrd":                        "its programs are those that its host noted",
		"initrd/x86_64/1700000000000000000/initrd":               "unpinned: its programs are not those that its host noted, or its kernel is one of a later host",
		"initrd/x86_64/1600000000/initrd":                        "unpinned: it is compressed, its programs were not looked at",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("adopted (-want +got):\n%s", diff)
	}
	if GetArch() != "x86_64" {
		return
	}
	// A host goes on with what is there, without a source.
	if err := s.EnsureSystemFiles(t.Context()); err != nil {
		t.Error(err)
	}
	if path, err := s.GetInitrdPath(); err != nil || path != filepath.Join(dataDir, "system/initrd/x86_64/1700000000/initrd") {
		t.Errorf("GetInitrdPath = %s, %v", path, err)
	}
	if path, err := s.GetKernelPath(KernelVersion(later)); err != nil || !strings.HasSuffix(path, later+"/x86_64/vmlinux") {
		t.Errorf("kernel of a later host: %s, %v", path, err)
	}
	// Nobody knows what instances need it, so that Collect does not touch it.
	decisions, err := s.Collect(t.Context(), CollectOptions{Grace: NoGrace})
	if err != nil {
		t.Fatal(err)
	}
	for _, decision := range decisions {
		if decision.Remove != strings.Contains(decision.Path, quarantineDir) {
			t.Errorf("%+v", decision)
		}
	}
	// From now on it does not change unseen.
	writeFile(t, filepath.Join(dataDir, "system/kernel", later, "x86_64/vmlinux"), append(kernel, 0))
	if _, err := s.GetKernelPath(KernelVersion(later)); err == nil || !strings.Contains(err.Error(), "is corrupt: it has SHA-256") {
		t.Errorf("changed kernel: got error %v", err)
	}
}

func TestAdoptBesideSets(t *testing.T) {
	set := makeSet(t, 1)
	s := install(t, set)
	kernel := filepath.Join(s.dataDir, "system", versionPath(Kernel_202602101, GetArch()))
	machine := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}[GetArch()]
	writeFile(t, kernel, elfKernel(t, machine, 10))
	if err := s.SetLatest(t.Context(), set.id); err != nil {
		t.Fatal(err)
	}
	if path, err := s.GetKernelPath(Kernel_202602101); err != nil || path != kernel {
		t.Errorf("kernel of an old instance: %s, %v", path, err)
	}
	// One that has the version of the sets' kernel is not replaced by theirs.
	hosts := filepath.Join(s.dataDir, "system", versionPath(DefaultKernelVersion, GetArch()))
	if err := errors.Join(os.Remove(hosts), os.Remove(filepath.Join(filepath.Dir(hosts), ".vmlinux"+recordSuffix))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, hosts, elfKernel(t, machine, 20))
	other := makeSet(t, 2)
	s.options.Sources = append(s.options.Sources, Dir(other.dir))
	if _, err := s.Install(t.Context(), other.id); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLatest(t.Context(), other.id); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(hosts); err != nil || !bytes.Equal(data, elfKernel(t, machine, 20)) {
		t.Errorf("kernel of a host was replaced: %v", err)
	}
	if path, err := s.GetKernelPath(DefaultKernelVersion); err != nil {
		t.Error(err)
	} else if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, other.bytes(t, "kernel")) {
		t.Errorf("%s is not the kernel of the set: %v", path, err)
	}
	for _, wrong := range [][]byte{nil, []byte("vmlinux"), make([]byte, 100), elfKernel(t, elf.EM_RISCV, 10)} {
		if err := os.Remove(kernel); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(filepath.Dir(kernel), ".vmlinux"+recordSuffix)); err != nil {
			t.Fatal(err)
		}
		writeFile(t, kernel, wrong)
		_, err := s.GetKernelPath(Kernel_202602101)
		if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.Quarantine == "" {
			t.Errorf("%.10q as kernel: got error %v", wrong, err)
		}
		writeFile(t, kernel, nil)
	}
}

func FuzzReadNewc(f *testing.F) {
	f.Add(newcArchive(map[string]string{"init": "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := readNewc(bytes.NewReader(data))
		if err != nil {
			return
		}
		for name, entry := range entries {
			if entry.offset < 0 || entry.size < 0 || entry.offset > int64(len(data)) {
				t.Errorf("%q is at %+v of %d bytes", name, entry, len(data))
			}
		}
	})
}
