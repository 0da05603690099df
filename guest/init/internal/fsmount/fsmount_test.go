package fsmount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

func TestCreate(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	for _, readOnly := range []bool{false, true} {
		dir := t.TempDir()
		target, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		mount, err := Create("tmpfs", readOnly, "mode=0751", "source=memory")
		if err != nil {
			t.Fatal(err)
		}
		if err := Attach(mount, target); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o751 {
			t.Errorf("mount point = %v, %v, want the new file system's", info, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); errors.Is(err, unix.EROFS) != readOnly {
			t.Errorf("write with read-only %v: got error %v", readOnly, err)
		}
		if err := Attach(mount, mount); err == nil {
			t.Error("attach to itself: got no error")
		}
		if err := errors.Join(unix.Close(mount), unix.Unmount(dir, 0), unix.Close(target)); err != nil {
			t.Error(err)
		}
	}
}

func TestCreateErrors(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	tests := []struct {
		fstype, option, want string
	}{
		{"nosuchfs", "a", "the kernel has no file system nosuchfs: no such device"},
		{"tmpfs", "nosuchoption", "set tmpfs option nosuchoption: tmpfs: Unknown parameter 'nosuchoption': invalid argument"},
		{"tmpfs", "mode=9", "set tmpfs option mode=9: tmpfs: Bad value for 'mode': invalid argument"},
		{"tmpfs", "source=a=b", ""},
	}
	for _, test := range tests {
		mount, err := Create(test.fstype, false, test.option)
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s, %s: got error %v, want %q", test.fstype, test.option, err, test.want)
		}
		if err == nil {
			unix.Close(mount)
		}
	}
}
