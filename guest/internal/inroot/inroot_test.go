package inroot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func TestEnsureFile(t *testing.T) {
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
			base := imagetest.RealPath(t, t.TempDir())
			image := filepath.Join(base, "image")
			imagetest.Place(t, base, "outside/", "image/")
			imagetest.Place(t, image, test.image...)
			root, err := Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()

			fd, err := root.EnsureFile(test.file)
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if err == nil {
				defer unix.Close(fd)
				if got, err := os.Readlink(fdPath(fd)); got != filepath.Join(image, test.want) || err != nil {
					t.Errorf("opened %s, %v, want %s of the image", got, err, test.want)
				}
			}
			if diff := cmp.Diff([]string(nil), imagetest.Tree(t, filepath.Join(base, "outside"))); diff != "" {
				t.Errorf("made outside of the image (-want +got):\n%s", diff)
			}
			if entries, err := os.ReadDir(base); len(entries) != 2 || err != nil {
				t.Errorf("beside the image: got %v, %v", entries, err)
			}
		})
	}
}

// TestEnsureFileKeeps checks that a file of the image keeps its content, and
// that a new one is a program.
func TestEnsureFileKeeps(t *testing.T) {
	image := t.TempDir()
	imagetest.Place(t, image, "old")
	root, err := Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"old", "new"} {
		fd, err := root.EnsureFile(name)
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
