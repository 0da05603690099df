package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

// TestFreeInitramfs checks that all below the folder goes, and nothing that only
// links lead to.
func TestFreeInitramfs(t *testing.T) {
	base := t.TempDir()
	imagetest.Place(t, base, "outside/", "outside/kept", "root/", "root/bin/", "root/bin/sh", "root/pipe|", "root/empty/",
		"root/link -> ../outside", "root/bin/file -> ../../outside/kept", "root/a/b/c/", "root/a/b/c/d")
	dir, err := openDirectory(filepath.Join(base, "root"))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{initramfs: dir}
	if err := m.freeInitramfs(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"outside d---------", "outside/kept ----------", "root d---------"}, imagetest.Tree(t, base)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if m.record.BeforeFreeKiB <= 0 || m.record.AfterFreeKiB <= 0 || m.initramfs != -1 {
		t.Errorf("machine = %+v", m)
	}
}

// TestRemoveBelowStaysOnDevice checks that other file systems are left alone.
func TestRemoveBelowStaysOnDevice(t *testing.T) {
	root := t.TempDir()
	imagetest.Place(t, root, "disk/", "disk/kept")
	dir, err := openDirectory(root)
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(dir, &stat); err != nil {
		t.Fatal(err)
	}
	if err := removeBelow(dir, stat.Dev+1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "disk/kept")); err != nil {
		t.Error(err)
	}
}
