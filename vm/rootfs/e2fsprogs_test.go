//go:build vm

package rootfs

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/vm/internal/ext4/ext4test"
)

func TestWriteDiskFsck(t *testing.T) {
	layers := []v1.Layer{
		newLayer(t,
			tar.Header{Typeflag: tar.TypeDir, Name: "usr/bin/", Mode: 0o755},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"},
			tar.Header{Name: "usr/bin/sh", Mode: 0o755},
			tar.Header{Typeflag: tar.TypeLink, Name: "bin/ash", Linkname: "usr/bin/sh"},
			tar.Header{Name: "gone"},
			tar.Header{Name: "opaque/lower"}),
		newLayer(t,
			tar.Header{Name: ".wh.gone"},
			tar.Header{Name: "opaque/.wh..wh..opq"},
			tar.Header{Name: "opaque/upper"},
			tar.Header{Name: "bin/tool"}),
	}
	disk := filepath.Join(t.TempDir(), "rootfs.ext4")
	if err := WriteDisk(t.Context(), disk, layers, nil); err != nil {
		t.Fatal(err)
	}
	ext4test.Check(t, disk)
	want := map[string][]string{
		"/":        {"bin", "lost+found", "opaque", "usr"},
		"/usr/bin": {"ash", "sh", "tool"},
		"/opaque":  {"upper"},
	}
	got := map[string][]string{}
	for dir := range want {
		got[dir] = slices.Sorted(slices.Values(ext4test.Names(t, disk, dir)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	if got := ext4test.Debugfs(t, disk, "cat /usr/bin/ash"); got != "usr/bin/sh" {
		t.Errorf("hard link holds %q, want %q", got, "usr/bin/sh")
	}
}

func TestWriteOverlayFsck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overlay.ext4")
	if err := WriteOverlay(path, 10_000_000_000); err != nil {
		t.Fatal(err)
	}
	ext4test.Check(t, path)
}

func TestWriteFolderFsck(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "a"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a", "file"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(folder, "a", "file"), filepath.Join(folder, "hard")); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "folder.ext4")
	if _, err := WriteFolder(t.Context(), disk, folder); err != nil {
		t.Fatal(err)
	}
	ext4test.Check(t, disk)
	for dir, want := range map[string][]string{"/": {"a", "hard", "lost+found"}, "/a": {"file"}} {
		got := slices.Sorted(slices.Values(ext4test.Names(t, disk, dir)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
	if got := ext4test.Debugfs(t, disk, "cat /hard"); got != "content" {
		t.Errorf("hard link holds %q, want %q", got, "content")
	}
}
