// Package nstest runs tests as root of namespaces of their own, where they may
// change what is the machine's. A kernel that does not let users have them fails
// the test.
package nstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// env tells a test binary that it is inside, by the test's name.
const env = "KINDLING_TEST_INSIDE"

// Inside runs the test again in a user namespace and in those of flags
// (unix.CLONE_NEW*) and returns true in there.
func Inside(t *testing.T, flags uintptr) bool {
	t.Helper()
	if os.Getenv(env) == t.Name() {
		return true
	}
	self := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	self.Env = append(os.Environ(), env+"="+t.Name())
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	output, err := self.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("in namespaces of its own (users must be allowed to make them): %v\n%s", err, output)
	}
	return false
}

// TempDir is a folder, without links in its path, on a file system of its own
// that goes with the test, and with it all that is mounted below. It is for use
// inside a mount namespace.
func TempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
