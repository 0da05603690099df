package system

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
)

func writeSet(t *testing.T) (dir, manifest string) {
	t.Helper()
	dir = t.TempDir()
	m := &bundle.Manifest{Version: bundle.Version, Arch: "x86_64"}
	for kind, name := range map[bundle.Kind]string{bundle.Kernel: "vmlinux", bundle.Initrd: "initrd", bundle.Base: "base.tar.gz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, name)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, file)
	}
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
	got, err := Open(manifest)
	if err != nil {
		t.Fatal(err)
	}
	want := &Set{Arch: "x86_64", Base: dir + "/base.tar.gz", Initrd: dir + "/initrd", Kernel: dir + "/vmlinux"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir, manifest := writeSet(t)
	if _, err := Open(manifest + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing manifest: got error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinux"), []byte("vmlinuz"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mismatch *bundle.MismatchError
	if _, err := Open(manifest); !errors.As(err, &mismatch) || mismatch.Want.Kind != bundle.Kernel {
		t.Errorf("changed kernel: got error %v, want a mismatch of the kernel", err)
	}
}
