package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

func TestUnpackCopies(t *testing.T) {
	var archive bytes.Buffer
	w := newc.NewWriter(&archive)
	for _, entry := range []struct {
		name, body string
		mode       uint32
	}{
		{".", "", newc.TypeDir | 0o755},
		{"bin", "", newc.TypeDir | 0o700},
		{"bin/sh", "busybox", newc.TypeSymlink | 0o777},
		{"init", "0123456789", newc.TypeRegular | 0o555},
	} {
		if err := w.WriteHeader(newc.Header{Name: entry.name, Mode: entry.mode, Nlink: 1, Size: int64(len(entry.body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, entry.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	initrd, tree := filepath.Join(dir, "initrd"), filepath.Join(dir, "tree")
	if err := os.WriteFile(initrd, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpackCopies(initrd, tree, 20); err != nil {
		t.Fatal(err)
	}
	got, err := files(tree)
	if err != nil {
		t.Fatal(err)
	}
	// 17 bytes are in one copy, so the second one stops behind its first file.
	if diff := cmp.Diff([]string{"d000/bin/sh", "d000/init", "d001/bin/sh"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if size, err := sizeOf(tree); err != nil || size != 24 {
		t.Errorf("files have %d bytes, error %v, want 24", size, err)
	}
	if err := unpackCopies(filepath.Join(dir, "none"), tree, 1); err == nil {
		t.Error("no error for an initrd that is not there")
	}
}

func TestWriteSet(t *testing.T) {
	dir := t.TempDir()
	if err := writeSet(dir, 0); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Architectures[0].Verify(os.DirFS(dir)); err != nil {
		t.Error(err)
	}
}

// The layers of an image depend on nothing but their number and the scale.
func TestFillLayer(t *testing.T) {
	read := func(number int) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if err := fillLayer(w, number, 1); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	if !bytes.Equal(read(3), read(3)) || bytes.Equal(read(3), read(4)) {
		t.Error("layers are not a function of their number")
	}
}
