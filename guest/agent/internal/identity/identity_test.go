package identity

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

func TestDerive(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`) // UUID of version 4
	seen := map[string]string{}
	for _, instance := range []string{"a", "b", "a\x00", "tz4a98xxat96iws9zmbrgj3a", "\xff\n", "../x"} {
		id := Derive(instance)
		if !form.MatchString(id) {
			t.Errorf("machine ID of %q is %s, want a UUID of version 4", instance, id)
		}
		if other, found := seen[id]; found {
			t.Errorf("%q and %q have one machine ID", instance, other)
		}
		seen[id] = instance
	}
	// Hosts may rely on it.
	if got, want := Derive("a"), "fc3b0b85e2184759b56c4bf34b7ec065"; got != want {
		t.Errorf("machine ID of a is %s, want %s", got, want)
	}
}

const (
	oldID = "11111111111111111111111111111111"
	newID = "22222222222222222222222222222222"
)

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func requireContent(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", name, got, err, want)
	}
}

func requireOnly(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("%s has %v, %v, want %d entries", dir, entries, err, want)
	}
}

func TestWrite(t *testing.T) {
	tests := []struct {
		name   string
		target string // of a link, "" for none
		old    string // content, "none" for no file
	}{
		{"file", "", oldID + "\n"},
		{"first boot", "", "uninitialized\n"},
		{"no file", "", "none"},
		{"relative link", "../data/id", oldID + "\n"},
		{"link to no file", "../data/id", "none"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			name, file := filepath.Join(dir, "etc/machine-id"), filepath.Join(dir, "etc/machine-id")
			write(t, filepath.Join(dir, "etc/hostname"), "h\n")
			write(t, filepath.Join(dir, "data/other"), "o\n")
			if test.target != "" {
				file = filepath.Join(dir, "data/id")
				if err := os.Symlink(test.target, name); err != nil {
					t.Fatal(err)
				}
			}
			if test.old != "none" {
				write(t, file, test.old)
			}
			for range 2 {
				if err := (Files{MachineID: name}).Write(newID); err != nil {
					t.Fatal(err)
				}
			}
			requireContent(t, name, newID+"\n")
			info, err := os.Lstat(file)
			if err != nil || info.Mode() != 0o444 {
				t.Errorf("got %v, %v, want a file that all may read", info, err)
			}
			if link, err := os.Readlink(name); link != test.target {
				t.Errorf("got link to %q, %v, want %q", link, err, test.target)
			}
			requireOnly(t, filepath.Join(dir, "etc"), 2)
		})
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "machine-id")
	if err := (Files{MachineID: filepath.Join(dir, "none/machine-id")}).Write(newID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the folder: got error %v", err)
	}
	if err := os.Symlink("machine-id", name); err != nil {
		t.Fatal(err)
	}
	if err := (Files{MachineID: name}).Write(newID); err == nil {
		t.Error("link to itself: got no error")
	}
	if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := (Files{MachineID: name}).Write(newID); err == nil {
		t.Error("folder: got no error")
	}
	requireOnly(t, dir, 1)
}

// TestWriteMounted has a file mounted in the place of the machine ID's, as
// systemd does where the root is read-only at boot.
func TestWriteMounted(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	for _, test := range []struct {
		name     string
		readOnly bool
		runtime  string // that the machine knows of
		err      error
	}{
		{"writable", false, "none", nil},
		{"read-only", true, "run/machine-id", nil},
		{"read-only from elsewhere", true, "run/other", unix.EROFS},
		{"read-only from nowhere", true, "none", unix.EROFS},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := nstest.TempDir(t)
			name, runtime := filepath.Join(dir, "etc/machine-id"), filepath.Join(dir, "run/machine-id")
			write(t, name, "below\n")
			write(t, runtime, oldID+" and more\n")
			write(t, filepath.Join(dir, "run/other"), "other\n")
			if err := unix.Mount(runtime, name, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := unix.Unmount(name, 0); err != nil {
					t.Error(err)
				}
				requireContent(t, name, "below\n")
			}()
			if test.readOnly {
				if err := unix.Mount("", name, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			want := newID + "\n"
			if test.err != nil {
				want = oldID + " and more\n"
			}
			err := Files{MachineID: name, Runtime: filepath.Join(dir, test.runtime)}.Write(newID)
			if (err == nil) != (test.err == nil) || !errors.Is(err, test.err) {
				t.Errorf("got error %v, want %v", err, test.err)
			}
			requireContent(t, name, want)
			requireContent(t, filepath.Join(dir, "run/other"), "other\n")
			requireOnly(t, filepath.Join(dir, "etc"), 1)
		})
	}
}
