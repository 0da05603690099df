package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func copyStart(start *guestpb.CopyToGuestStart) *guestpb.CopyToGuestRequest {
	return &guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Start{Start: start}}
}

func copyData(data string) *guestpb.CopyToGuestRequest {
	return &guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Data{Data: []byte(data)}}
}

func copyEnd() *guestpb.CopyToGuestRequest {
	return &guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_End{End: &guestpb.CopyToGuestEnd{}}}
}

// copyTo sends requests and the half-close.
func copyTo(t *testing.T, client guestpb.GuestServiceClient, requests ...*guestpb.CopyToGuestRequest) (success bool, text string, written int64) {
	t.Helper()
	stream, err := client.CopyToGuest(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range requests {
		if err := stream.Send(req); err != nil {
			break // answered already
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetSuccess(), resp.GetError(), resp.GetBytesWritten()
}

// requireNames compares the names in a directory: nothing is left over.
func requireNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", dir, diff)
	}
}

// TestCopyToGuestErrors has texts that hosts know, in the response.
func TestCopyToGuestErrors(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", []byte("old"), 0o600),
		os.Mkdir(dir+"/folder", 0o700),
		unix.Mkfifo(dir+"/fifo", 0o600),
		os.Symlink("fifo", dir+"/to fifo"),
		os.Symlink("loop", dir+"/loop"),
		os.Symlink("none/file", dir+"/dangling"),
		unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := []string{"dangling", "fifo", "file", "folder", "loop", "socket", "to fifo"}
	file := func(name string, size int64) *guestpb.CopyToGuestRequest {
		return copyStart(&guestpb.CopyToGuestStart{Path: name, Mode: 0o644, Size: size})
	}
	folder := func(name string) *guestpb.CopyToGuestRequest {
		return copyStart(&guestpb.CopyToGuestStart{Path: name, Mode: 0o755, IsDir: true})
	}
	const noStart = "first message must be CopyToGuestStart"
	tests := []struct {
		name     string
		requests []*guestpb.CopyToGuestRequest
		want     string
	}{
		{"nothing", nil, noStart},
		{"data first", []*guestpb.CopyToGuestRequest{copyData("x")}, noStart},
		{"end first", []*guestpb.CopyToGuestRequest{copyEnd()}, noStart},
		{"empty first", []*guestpb.CopyToGuestRequest{{}}, noStart},
		{"folder that is a file", []*guestpb.CopyToGuestRequest{folder(dir + "/file"), copyEnd()}, "cannot create directory: " + dir + "/file is a file"},
		{"folder below a file", []*guestpb.CopyToGuestRequest{folder(dir + "/file/x"), copyEnd()}, "create directory: mkdir " + dir + "/file: not a directory"},
		{"folder without a name", []*guestpb.CopyToGuestRequest{folder(""), copyEnd()}, "create directory: no such file or directory"},
		{"folder with data", []*guestpb.CopyToGuestRequest{folder(dir + "/folder"), copyData("x")}, "receive: a directory has no content"},
		{"file below a file", []*guestpb.CopyToGuestRequest{file(dir+"/file/x", 0), copyEnd()}, "create parent directory: mkdir " + dir + "/file: not a directory"},
		{"file that is a folder", []*guestpb.CopyToGuestRequest{file(dir+"/folder", 0), copyEnd()}, "cannot copy file: " + dir + "/folder is a directory"},
		{"file with a slash", []*guestpb.CopyToGuestRequest{file(dir+"/new/", 0), copyEnd()}, "create file: open " + dir + "/new/: is a directory"},
		{"file through a loop", []*guestpb.CopyToGuestRequest{file(dir+"/loop", 0), copyEnd()}, "create file: open " + dir + "/loop: too many levels of symbolic links"},
		{"file through a dangling link", []*guestpb.CopyToGuestRequest{file(dir+"/dangling", 0), copyEnd()}, "create file: open " + dir + "/none/: no such file or directory"},
		{"name too long", []*guestpb.CopyToGuestRequest{file(dir+"/"+strings.Repeat("n", 256), 0), copyEnd()}, "create file: readlink " + dir + "/" + strings.Repeat("n", 256) + ": file name too long"},
		{"FIFO", []*guestpb.CopyToGuestRequest{file(dir+"/fifo", 0), copyEnd()}, "create file: " + dir + "/fifo: there is a FIFO already"},
		{"FIFO behind a link", []*guestpb.CopyToGuestRequest{file(dir+"/to fifo", 0), copyEnd()}, "create file: " + dir + "/to fifo: there is a FIFO already"},
		{"socket", []*guestpb.CopyToGuestRequest{file(dir+"/socket", 0), copyEnd()}, "create file: " + dir + "/socket: there is a socket already"},
		{"device", []*guestpb.CopyToGuestRequest{file("/dev/null", 0), copyEnd()}, "create file: /dev/null: there is a character device already"},
		{"no end", []*guestpb.CopyToGuestRequest{file(dir+"/file", 0), copyData("x")}, "receive: the stream has ended before the file"},
		{"too short", []*guestpb.CopyToGuestRequest{file(dir+"/file", 2), copyData("x"), copyEnd()}, "receive: 1 bytes, want the announced 2"},
		{"too long", []*guestpb.CopyToGuestRequest{file(dir+"/file", 2), copyData("x"), copyData("yz"), copyEnd()}, "receive: more than the announced 2 bytes"},
		{"negative size", []*guestpb.CopyToGuestRequest{file(dir+"/file", -1), copyEnd()}, "receive: size is -1"},
		{"second start", []*guestpb.CopyToGuestRequest{file(dir+"/file", 0), file(dir+"/file", 0)}, "receive: a second CopyToGuestStart"},
	}
	client := dial(t, Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			success, text, written := copyTo(t, client, test.requests...)
			if success || text != test.want || written != 0 {
				t.Errorf("got success %v, error %q, %d bytes, want error %q", success, text, written, test.want)
			}
			requireNames(t, dir, before...)
			requireNames(t, dir+"/folder")
			if got, err := os.ReadFile(dir + "/file"); string(got) != "old" || err != nil {
				t.Errorf("file has %q, error %v, want old", got, err)
			}
		})
	}
}

func TestCopyToGuest(t *testing.T) {
	umask := unix.Umask(0o077) // has no effect
	defer unix.Umask(umask)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	tests := []struct {
		name     string
		start    *guestpb.CopyToGuestStart // of a path below the test's folder
		content  []string
		noEnd    bool
		want     string // name of the file
		wantMode os.FileMode
		wantTime time.Time
	}{
		{name: "file", start: &guestpb.CopyToGuestStart{Path: "f", Mode: 0o4751, Size: 4, Mtime: 1e9}, content: []string{"ab", "", "cd"}, want: "f", wantMode: os.ModeSetuid | 0o751, wantTime: time.Unix(1e9, 0)},
		{name: "owner", start: &guestpb.CopyToGuestStart{Path: "f", Mode: 0o6755, Uid: uid, Gid: gid, SetOwner: true}, want: "f", wantMode: os.ModeSetuid | os.ModeSetgid | 0o755},
		{name: "no mode", start: &guestpb.CopyToGuestStart{Path: "f"}, content: []string{"x"}, want: "f"},
		{name: "odd name", start: &guestpb.CopyToGuestStart{Path: "a b\n\u00e4", Mode: 0o600}, content: []string{"x"}, want: "a b\n\u00e4", wantMode: 0o600},
		{name: "parents", start: &guestpb.CopyToGuestStart{Path: "p/q//f", Mode: 0o600}, content: []string{"x"}, want: "p/q/f", wantMode: 0o600},
		{name: "existing", start: &guestpb.CopyToGuestStart{Path: "existing", Mode: 0o777}, content: []string{"new"}, want: "existing", wantMode: os.ModeSetuid | 0o640},
		{name: "through links", start: &guestpb.CopyToGuestStart{Path: "link", Mode: 0o777}, content: []string{"new"}, want: "d/target", wantMode: 0o604},
		{name: "through a dangling link", start: &guestpb.CopyToGuestStart{Path: "dangling", Mode: 0o610}, content: []string{"new"}, want: "d/new", wantMode: 0o610},
		{name: "folders", start: &guestpb.CopyToGuestStart{Path: "x/y/z", Mode: 0o1731, IsDir: true, Mtime: 1e9}, want: "x/y/z", wantMode: os.ModeDir | os.ModeSticky | 0o731, wantTime: time.Unix(1e9, 0)},
		{name: "folder half-closed", start: &guestpb.CopyToGuestStart{Path: "x/", Mode: 0o700, IsDir: true}, noEnd: true, want: "x", wantMode: os.ModeDir | 0o700},
		{name: "folder that exists", start: &guestpb.CopyToGuestStart{Path: "d", Mode: 0o777, IsDir: true, Mtime: 1e9}, want: "d", wantMode: os.ModeDir | 0o705},
		{name: "folder behind a link", start: &guestpb.CopyToGuestStart{Path: "to d", Mode: 0o777, IsDir: true}, want: "d", wantMode: os.ModeDir | 0o705},
	}
	client := dial(t, Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, err := range []error{
				os.WriteFile(dir+"/existing", []byte("old content"), 0o600), os.Chmod(dir+"/existing", os.ModeSetuid|0o640),
				unix.Setxattr(dir+"/existing", "user.kindling", []byte("kept"), 0),
				os.Mkdir(dir+"/d", 0o700), os.Chmod(dir+"/d", 0o705),
				os.WriteFile(dir+"/d/target", []byte("old"), 0o600), os.Chmod(dir+"/d/target", 0o604),
				os.Symlink("d/../second", dir+"/link"), os.Symlink(dir+"/d/target", dir+"/second"),
				os.Symlink("d/new", dir+"/dangling"), os.Symlink("d", dir+"/to d"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			start := test.start
			start.Path = dir + "/" + start.GetPath()
			requests := []*guestpb.CopyToGuestRequest{copyStart(start)}
			for _, data := range test.content {
				requests = append(requests, copyData(data))
			}
			if !test.noEnd {
				requests = append(requests, copyEnd())
			}
			content := strings.Join(test.content, "")
			success, text, written := copyTo(t, client, requests...)
			if !success || text != "" || written != int64(len(content)) {
				t.Errorf("got success %v, error %q, %d bytes, want %d", success, text, written, len(content))
			}
			path := filepath.Join(dir, test.want)
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != test.wantMode {
				t.Errorf("got mode %v, want %v", info.Mode(), test.wantMode)
			}
			if !test.wantTime.IsZero() && !info.ModTime().Equal(test.wantTime) {
				t.Errorf("got time %v, want %v", info.ModTime(), test.wantTime)
			}
			if info.IsDir() {
				return
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); string(got) != content || err != nil {
				t.Errorf("got %q, error %v, want %q", got, err, content)
			}
			if test.name == "existing" {
				buf := make([]byte, 10)
				if n, err := unix.Getxattr(path, "user.kindling", buf); err != nil || string(buf[:n]) != "kept" {
					t.Errorf("got extended attribute %q, error %v, want it kept", buf[:max(n, 0)], err)
				}
			}
			if test.name == "parents" {
				if info, err := os.Stat(dir + "/p"); err != nil || info.Mode() != os.ModeDir|0o755 {
					t.Errorf("parent: got %v, error %v, want mode 0755", info, err)
				}
			}
		})
	}
}

// TestCopyToGuestGone has a client that goes away within a file.
func TestCopyToGuestGone(t *testing.T) {
	dir := t.TempDir()
	client := dial(t, Options{}) // its end waits for the call
	t.Run("gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(limited(t))
		stream, err := client.CopyToGuest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []*guestpb.CopyToGuestRequest{copyStart(&guestpb.CopyToGuestStart{Path: dir + "/f"}), copyData("x")} {
			if err := stream.Send(req); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is left", entries[0].Name())
		}
	}
}

// insideEnv tells a test binary that it is in namespaces of its own.
const insideEnv = "KINDLING_TEST_INSIDE"

// TestCopyToGuestAsRoot fills a file system and sets owners, as root of
// namespaces of its own.
func TestCopyToGuestAsRoot(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		self := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		self.Env = append(os.Environ(), insideEnv+"=1")
		self.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		output, err := self.CombinedOutput()
		if err != nil || !bytes.Contains(output, []byte("--- PASS: "+t.Name())) {
			t.Errorf("in namespaces of its own: %v\n%s", err, output)
		}
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	client := dial(t, Options{})
	if err := os.WriteFile(dir+"/f", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	requests := []*guestpb.CopyToGuestRequest{copyStart(&guestpb.CopyToGuestStart{Path: dir + "/f", Mode: 0o600})}
	for range 64 {
		requests = append(requests, copyData(strings.Repeat("x", 32<<10)))
	}
	success, text, _ := copyTo(t, client, append(requests, copyEnd())...)
	if success || !strings.HasPrefix(text, "write: ") || !strings.HasSuffix(text, ": no space left on device") {
		t.Errorf("got success %v, error %q, want no space left", success, text)
	}
	requireNames(t, dir, "f")
	if got, err := os.ReadFile(dir + "/f"); string(got) != "old" || err != nil {
		t.Errorf("got %q, error %v, want old", got, err)
	}

	// Zeros become holes: they fit.
	requests = requests[:1]
	for range 64 {
		requests = append(requests, copyData(strings.Repeat("\x00", 32<<10)))
	}
	if success, text, written := copyTo(t, client, append(requests, copyEnd())...); !success || written != 2<<20 {
		t.Errorf("zeros: got success %v, error %q, %d bytes, want %d", success, text, written, 2<<20)
	}

	// An owner that this namespace does not have.
	start := &guestpb.CopyToGuestStart{Path: dir + "/g", Uid: 1, Gid: 1}
	if success, text, _ := copyTo(t, client, copyStart(start), copyEnd()); success || text != "write: set owner 1:1: invalid argument" {
		t.Errorf("owner 1:1: got success %v, error %q, want that it is invalid", success, text)
	}
	requireNames(t, dir, "f")
	// Group 0 and user 0 together with the field that says so; without it, they
	// are none.
	for _, setOwner := range []bool{false, true} {
		start := &guestpb.CopyToGuestStart{Path: dir + "/g", Uid: 1, SetOwner: setOwner}
		success, _, _ := copyTo(t, client, copyStart(start), copyEnd())
		if success == setOwner {
			t.Errorf("owner 1:0, set_owner %v: got success %v", setOwner, success)
		}
	}
	start = &guestpb.CopyToGuestStart{Path: dir + "/h", SetOwner: true, Mode: 0o4755}
	if success, text, _ := copyTo(t, client, copyStart(start), copyEnd()); !success {
		t.Errorf("owner 0:0: got error %q", text)
	}
	info, err := os.Stat(dir + "/h")
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || info.Mode() != os.ModeSetuid|0o755 {
		t.Errorf("got owner %d, mode %v, want 0, setuid and 0755", stat.Uid, info.Mode())
	}
	if err := errors.Join(os.Remove(dir+"/g"), os.Remove(dir+"/h")); err != nil {
		t.Error(err)
	}
}
