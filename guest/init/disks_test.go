package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeWatch is a watch that is woken by writes to the other socket.
func fakeWatch(t *testing.T, timeout time.Duration) (watch *diskWatch, kernel int) {
	t.Helper()
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, socket := range sockets {
			if err := unix.Close(socket); err != nil {
				t.Error(err)
			}
		}
	})
	return &diskWatch{socket: sockets[0], timeout: timeout}, sockets[1]
}

func tell(t *testing.T, kernel int) {
	t.Helper()
	if _, err := unix.Write(kernel, []byte("add@/devices/virtual/block/vda")); err != nil {
		t.Fatal(err)
	}
}

// waitRead returns once the watch has read all events, and goes on waiting.
func waitRead(t *testing.T, watch *diskWatch, ended <-chan error) {
	t.Helper()
	for {
		select {
		case err := <-ended:
			t.Fatalf("wait has ended: %v", err)
		default:
		}
		unread, err := unix.IoctlGetInt(watch.socket, unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if unread == 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestWaitForDisk(t *testing.T) {
	t.Run("there", func(t *testing.T) {
		watch, _ := fakeWatch(t, 0)
		if err := watch.wait("/dev/null"); err != nil {
			t.Error(err)
		}
	})
	t.Run("comes after other events", func(t *testing.T) {
		watch, kernel := fakeWatch(t, time.Minute)
		disk := filepath.Join(t.TempDir(), "vda")
		ended := make(chan error)
		go func() { ended <- watch.wait(disk) }()
		for range 5 {
			tell(t, kernel)
			waitRead(t, watch, ended)
		}
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			t.Error(err)
		}
		tell(t, kernel)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("node comes before the disk", func(t *testing.T) {
		watch, kernel := fakeWatch(t, time.Minute)
		dir := t.TempDir()
		disk := filepath.Join(dir, "vda")
		// To open a socket's name gives ENXIO, as with a node without its disk.
		listener, err := net.Listen("unix", disk)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ended := make(chan error)
		go func() { ended <- watch.wait(disk) }()
		tell(t, kernel)
		waitRead(t, watch, ended)
		if err := os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(filepath.Join(dir, "disk"), disk); err != nil {
			t.Error(err)
		}
		tell(t, kernel)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("does not come", func(t *testing.T) {
		watch, kernel := fakeWatch(t, 20*time.Millisecond)
		tell(t, kernel)
		disk := filepath.Join(t.TempDir(), "vda")
		want := "disk " + disk + " is missing: not there after 20ms"
		if err := watch.wait(disk); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	})
	t.Run("cannot come", func(t *testing.T) {
		watch, _ := fakeWatch(t, time.Minute)
		want := "look for disk: open /dev/null/vda: not a directory"
		if err := watch.wait("/dev/null/vda"); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	})
	t.Run("socket fails", func(t *testing.T) {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		watch := &diskWatch{socket: int(file.Fd()), timeout: time.Minute}
		disk := filepath.Join(t.TempDir(), "vda")
		want := "wait for disk " + disk + ": read uevent: socket operation on non-socket"
		if err := watch.wait(disk); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	})
}

// TestWatchDisks asks the real kernel.
func TestWatchDisks(t *testing.T) {
	watch, err := watchDisks(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.wait("/dev/null"); err != nil {
		t.Error(err)
	}
	disk := filepath.Join(t.TempDir(), "vda")
	if err := watch.wait(disk); err == nil || !strings.HasSuffix(err.Error(), "not there after 1ms") {
		t.Errorf("got error %v, want one of time", err)
	}
	m := &machine{disks: watch}
	if err := m.closeDiskWatch(); err != nil {
		t.Error(err)
	}
	if err := m.closeDiskWatch(); err == nil {
		t.Error("second close: got no error")
	}
}

func TestDiskType(t *testing.T) {
	const zeros = "\x00"
	tests := []struct{ name, content, want string }{
		{"erofs", strings.Repeat(zeros, 1024) + "\xe2\xe1\xf5\xe0\x01\x02\x03\x04", "erofs"},
		{"ext4", strings.Repeat(zeros, 1024+56) + "\x53\xef", "ext4"},
		{"squashfs", "hsqs" + strings.Repeat(zeros, 2048), "squashfs"},
		{"magic at another place", "\xe2\xe1\xf5\xe0" + strings.Repeat(zeros, 2048), ""},
		{"magic cut", strings.Repeat(zeros, 1024) + "\xe2\xe1\xf5", ""},
		{"blank", strings.Repeat(zeros, 8192), ""},
		{"short", "hsq", ""},
		{"empty", "", ""},
	}
	for _, test := range tests {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantErr := ""
		if test.want == "" {
			wantErr = "disk " + disk + " has no file system that is known: want erofs, ext4 or squashfs"
		}
		got, err := diskType(disk)
		if got != test.want || (err == nil) != (wantErr == "") || err != nil && err.Error() != wantErr {
			t.Errorf("%s: got %q, %v, want %q, %q", test.name, got, err, test.want, wantErr)
		}
	}
	dir := t.TempDir()
	if _, err := diskType(dir); err == nil || err.Error() != "read disk: read "+dir+": is a directory" {
		t.Errorf("got error %v", err)
	}
}
