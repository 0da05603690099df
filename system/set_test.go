package system

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
)

func writeSet(t *testing.T) (dir, manifest string) {
	t.Helper()
	dir = t.TempDir()
	arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0"}
	for kind, name := range map[bundle.Kind]string{bundle.Kernel: "vmlinux", bundle.Initrd: "initrd", bundle.Base: "base.tar.gz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, name)
		if err != nil {
			t.Fatal(err)
		}
		arch.Files = append(arch.Files, file)
	}
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	manifest = filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(manifest, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, manifest
}

func TestOpen(t *testing.T) {
	dir, manifest := writeSet(t)
	got, err := Open(manifest, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	id, ok := strings.CutPrefix(got.ID, "sha256:")
	if !ok || len(id) != 64 {
		t.Errorf("ID = %q, want a SHA-256", got.ID)
	}
	const kernel, initrd = "bda53947e9ee31b2381cad6b07dc756f83c688f16dce16bd23ac1386099b36b3",
		"09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2"
	want := &Set{
		ID: got.ID, Arch: "x86_64", AgentProtocol: bundle.AgentProtocol, CommandLine: "console=ttyS0",
		KernelVersion: "sha256-" + kernel, KernelSHA256: kernel, InitrdSHA256: initrd,
		Base: dir + "/base.tar.gz", Initrd: dir + "/initrd", Kernel: dir + "/vmlinux",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir, manifest := writeSet(t)
	if _, err := Open(manifest+"x", "x86_64"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing manifest: got error %v", err)
	}
	if _, err := Open(manifest, "aarch64"); err == nil || !strings.HasSuffix(err.Error(), "it has nothing for aarch64") {
		t.Errorf("other architecture: got error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinux"), []byte("vmlinuz"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mismatch *bundle.MismatchError
	if _, err := Open(manifest, "x86_64"); !errors.As(err, &mismatch) || mismatch.Want.Kind != bundle.Kernel {
		t.Errorf("changed kernel: got error %v, want a mismatch of the kernel", err)
	}
}
