// Package qemutest lets a test binary stand in for the programs that package
// qemu starts: it is linked under their names into a PATH of its own.
package qemutest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// AliveEnv names a file that every program has locked while it lives.
const AliveEnv = "KINDLING_TEST_ALIVE"

// Main is for TestMain. It runs the tests, or the program under whose name the
// binary was started, and ends the process: with 1 if the program fails, whose
// error goes to standard error.
func Main(m *testing.M, programs map[string]func() error) {
	program, ok := programs[filepath.Base(os.Args[0])]
	if !ok {
		os.Exit(m.Run())
	}
	err := stayAlive()
	if err == nil {
		err = program()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func stayAlive() error {
	fd, err := syscall.Open(os.Getenv(AliveEnv), syscall.O_RDONLY|syscall.O_CLOEXEC, 0) // until this process ends
	if err != nil {
		return err
	}
	return syscall.Flock(fd, syscall.LOCK_SH)
}

// Programs are the programs that a test put on its PATH.
type Programs struct{ alive *os.File }

// Use makes a PATH with nothing but the test binary under some names.
func Use(t *testing.T, names ...string) *Programs {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	alive, err := os.Create(filepath.Join(dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := alive.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("PATH", dir)
	t.Setenv(AliveEnv, alive.Name())
	return &Programs{alive}
}

// ShortDir makes a folder for machines: those of t.TempDir have paths that are too
// long for the address of a Unix socket.
func ShortDir(t *testing.T, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// RequireGone checks that none of the programs lives.
func (p *Programs) RequireGone(t *testing.T) {
	t.Helper()
	p.lock(t, syscall.LOCK_EX|syscall.LOCK_NB)
}

// AwaitGone waits until none of the programs lives.
func (p *Programs) AwaitGone(t *testing.T) {
	t.Helper()
	p.lock(t, syscall.LOCK_EX)
}

func (p *Programs) lock(t *testing.T, how int) {
	t.Helper()
	if err := syscall.Flock(int(p.alive.Fd()), how); err != nil {
		t.Errorf("a program still lives: %v", err)
	}
	if err := syscall.Flock(int(p.alive.Fd()), syscall.LOCK_UN); err != nil {
		t.Error(err)
	}
}

// Argument is, for a program standing in for QEMU, the last value, that of key,
// in its argument behind name.
func Argument(name, key string) string {
	for i, arg := range os.Args[:len(os.Args)-1] {
		if _, value, found := strings.Cut(os.Args[i+1], key); arg == name && found {
			return strings.ReplaceAll(value, ",,", ",")
		}
	}
	return ""
}
