// Package imagetest makes images for tests, hostile ones too, and looks at what
// has become of them.
package imagetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// RealPath is name without symbolic links, as /proc shows it.
func RealPath(t *testing.T, name string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// Place puts things into dir: "name -> target" is a symbolic link, "name/" a
// folder, "name|" a FIFO, "name=" a socket, anything else a file.
func Place(t *testing.T, dir string, things ...string) {
	t.Helper()
	for _, thing := range things {
		name, target, isLink := strings.Cut(thing, " -> ")
		path := filepath.Join(dir, strings.TrimRight(name, "|="))
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case strings.HasSuffix(name, "|"):
			err = unix.Mkfifo(path, 0o644)
		case strings.HasSuffix(name, "="):
			err = unix.Mknod(path, unix.S_IFSOCK|0o644, 0)
		default:
			err = os.WriteFile(path, []byte("content of the image"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Tree lists all below dir.
func Tree(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if path != dir {
			names = append(names, path[len(dir)+1:]+" "+entry.Type().String())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}
