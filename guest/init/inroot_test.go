package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// realPath is name without symbolic links, as /proc shows it.
func realPath(t *testing.T, name string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// place puts things into dir: "name -> target" is a symbolic link, "name/" a
// folder, "name|" a FIFO, "name=" a socket, anything else a file.
func place(t *testing.T, dir string, things ...string) {
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

// tree lists all below dir.
func tree(t *testing.T, dir string) []string {
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

func TestEnsureFileIn(t *testing.T) {
	const name = "/opt/hypeman/agent"
	tests := []struct {
		name    string
		file    string
		image   []string
		want    string // path of the file in the image
		wantErr string
	}{
		{"empty image", name, nil, "opt/hypeman/agent", ""},
		{"parent there", name, []string{"opt/"}, "opt/hypeman/agent", ""},
		{"there", name, []string{"opt/hypeman/", "opt/hypeman/agent"}, "opt/hypeman/agent", ""},
		{"in the root", "/agent", nil, "agent", ""},
		{"no slash at the start", "agent", nil, "agent", ""},
		{".. in the name", "/../../opt/../agent", nil, "agent", ""},

		{"absolute link as a folder", name, []string{"opt -> /outside", "outside/"}, "outside/hypeman/agent", ""},
		{"absolute link out", name, []string{"opt -> /outside"}, "", "open /opt in the image: no such file or directory"},
		{".. link as a folder", name, []string{"opt -> ../../../../outside", "outside/"}, "outside/hypeman/agent", ""},
		{".. link out", name, []string{"opt -> ../outside"}, "", "open /opt in the image: no such file or directory"},
		{"link to the root", name, []string{"opt -> /"}, "hypeman/agent", ""},
		{"absolute link as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent -> /outside"}, "outside", ""},
		{".. link as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent -> ../../../outside"}, "outside", ""},
		{"dangling link as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent -> /outside/made"}, "", "make /opt/hypeman/agent in the image: no such file or directory"},
		{"link through /proc", name, []string{"opt/hypeman/", "opt/hypeman/agent -> /proc/self/cwd/made"}, "", "make /opt/hypeman/agent in the image: no such file or directory"},
		{"link loop as a folder", name, []string{"opt -> tpo", "tpo -> opt"}, "", "open /opt in the image: too many levels of symbolic links"},
		{"link loop as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent -> agent"}, "", "open /opt/hypeman/agent in the image: too many levels of symbolic links"},

		{"file as a folder", name, []string{"opt"}, "", "open /opt in the image: not a directory"},
		{"file as the last folder", name, []string{"opt/", "opt/hypeman"}, "", "open /opt/hypeman/agent in the image: not a directory"},
		{"folder as the file", name, []string{"opt/hypeman/agent/"}, "", "/opt/hypeman/agent in the image is no regular file"},
		{"FIFO as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent|"}, "", "/opt/hypeman/agent in the image is no regular file"},
		{"socket as the file", name, []string{"opt/hypeman/", "opt/hypeman/agent="}, "", "/opt/hypeman/agent in the image is no regular file"},
		{"link to a FIFO", name, []string{"pipe|", "opt/hypeman/", "opt/hypeman/agent -> /pipe"}, "", "/opt/hypeman/agent in the image is no regular file"},
		{"the root itself", "/", nil, "", "/ in the image is no regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base := realPath(t, t.TempDir())
			image := filepath.Join(base, "image")
			place(t, base, "outside/", "image/")
			place(t, image, test.image...)
			root, err := unix.Open(image, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(root)

			fd, err := ensureFileIn(root, test.file)
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if err == nil {
				defer unix.Close(fd)
				if got, err := os.Readlink(fdPath(fd)); got != filepath.Join(image, test.want) || err != nil {
					t.Errorf("opened %s, %v, want %s of the image", got, err, test.want)
				}
			}
			if diff := cmp.Diff([]string(nil), tree(t, filepath.Join(base, "outside"))); diff != "" {
				t.Errorf("made outside of the image (-want +got):\n%s", diff)
			}
			if entries, err := os.ReadDir(base); len(entries) != 2 || err != nil {
				t.Errorf("beside the image: got %v, %v", entries, err)
			}
		})
	}
}

// TestEnsureFileInKeeps checks that a file of the image keeps its content, and
// that a new one is a program.
func TestEnsureFileInKeeps(t *testing.T) {
	image := t.TempDir()
	place(t, image, "old")
	root, err := unix.Open(image, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	for _, name := range []string{"old", "new"} {
		fd, err := ensureFileIn(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(image, "old")); string(got) != "content of the image" || err != nil {
		t.Errorf("old file = %q, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(image, "new")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("new file = %v, %v, want an executable one", info, err)
	}
}

func TestEnsureDirectory(t *testing.T) {
	image := t.TempDir()
	place(t, image, "there/", "file", "link -> there", "dangling -> /nowhere")
	tests := []struct{ name, want string }{
		{"there", ""},
		{"made", ""},
		{"file", "mount point " + image + "/file of the image is no directory"},
		{"link", "mount point " + image + "/link of the image is no directory"},
		{"dangling", "mount point " + image + "/dangling of the image is no directory"},
		{"file/below", "look at mount point: lstat " + image + "/file/below: not a directory"},
		{"no/parent", "make mount point: mkdir " + image + "/no/parent: no such file or directory"},
	}
	for _, test := range tests {
		err := ensureDirectory(filepath.Join(image, test.name))
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
	if info, err := os.Stat(filepath.Join(image, "made")); err != nil || !info.IsDir() {
		t.Errorf("made = %v, %v, want a directory", info, err)
	}
}
