package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

func TestEnsureDirectory(t *testing.T) {
	image := t.TempDir()
	imagetest.Place(t, image, "there/", "file", "link -> there", "dangling -> /nowhere")
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
