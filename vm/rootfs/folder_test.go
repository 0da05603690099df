package rootfs

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/google/go-cmp/cmp"
)

func TestWriteFolder(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "a", "deep"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a", "file"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(folder, "a", "file"), filepath.Join(folder, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/elsewhere", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(folder, alias); err != nil {
		t.Fatal(err)
	}
	var disks [2][]byte
	for i, source := range []string{folder, alias} {
		path := filepath.Join(t.TempDir(), "disk.ext4")
		skipped, err := WriteFolder(t.Context(), path, source)
		if err != nil || len(skipped) > 0 {
			t.Fatalf("got %q left out, error %v", skipped, err)
		}
		if _, err := tar2ext4.ReadExt4SuperBlock(path); err != nil {
			t.Error(err)
		}
		checkAlone(t, path)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got disk %v, error %v, want it private", info, err)
		}
		if disks[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(len(disks[0]), len(disks[1])); diff != "" || string(disks[0]) != string(disks[1]) {
		t.Errorf("two disks of the same folder differ: %s", diff)
	}
	if !strings.Contains(string(disks[0]), "content") {
		t.Error("disk does not hold the file's content")
	}
}

func TestWriteFolderSkips(t *testing.T) {
	folder, err := os.MkdirTemp("/tmp", "folder")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(folder, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	skipped, err := WriteFolder(t.Context(), filepath.Join(t.TempDir(), "disk.ext4"), folder)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{socket}, skipped); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

func TestWriteFolderErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		"/no/such": "write disk of folder: stat /no/such: no such file or directory",
		file:       "write disk of folder: " + file + " is not a folder",
	} {
		path := filepath.Join(t.TempDir(), "disk.ext4")
		if _, err := WriteFolder(t.Context(), path, folder); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %q", err, want)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("disk after an error: got error %v, want none there", err)
		}
	}
}
