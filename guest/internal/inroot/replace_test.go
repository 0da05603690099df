package inroot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// hostile are images that try to lead a file /etc/name elsewhere.
var hostile = []struct {
	name    string
	image   []string
	want    string // where the file is in the image
	wantErr string // of ReplaceFile
}{
	{"empty image", nil, "etc/name", ""},
	{"file", []string{"etc/", "etc/name"}, "etc/name", ""},
	{"absolute link out", []string{"etc/", "etc/name -> /outside/made"}, "etc/name", ""},
	{".. link out", []string{"etc/", "etc/name -> ../../outside/made"}, "etc/name", ""},
	{"dangling link", []string{"etc/", "etc/name -> ../run/nowhere"}, "etc/name", ""},
	{"link to itself", []string{"etc/", "etc/name -> name"}, "etc/name", ""},
	{"link to a device", []string{"etc/", "etc/name -> /dev/vda"}, "etc/name", ""},
	{"link through /proc", []string{"etc/", "etc/name -> /proc/self/fd/1"}, "etc/name", ""},
	{"FIFO", []string{"etc/", "etc/name|"}, "etc/name", ""},
	{"socket", []string{"etc/", "etc/name="}, "etc/name", ""},
	{"directory", []string{"etc/", "etc/name/"}, "etc/name", ""},
	{"full directory", []string{"etc/", "etc/name/deep/", "etc/name/file", "etc/name/out -> ../../../outside"}, "etc/name", ""},
	{"left by a crash", []string{"etc/", "etc/.name.kindling"}, "etc/name", ""},
	{"link of the temporary name", []string{"etc/", "etc/.name.kindling -> ../../outside/made"}, "etc/name", ""},
	{"directory of the temporary name", []string{"etc/", "etc/.name.kindling/deep/"}, "etc/name", ""},

	{"folder is a link to the root", []string{"etc -> /"}, "name", ""},
	{"folder is a link inside", []string{"etc -> /usr/etc", "usr/etc/"}, "usr/etc/name", ""},
	{"folder is a .. link inside", []string{"etc -> ../../../usr", "usr/"}, "usr/name", ""},
	{"folder is a link out", []string{"etc -> ../outside"}, "", "write /etc/name in the image: open /etc in the image: no such file or directory"},
	{"folder is a loop", []string{"etc -> cte", "cte -> etc"}, "", "write /etc/name in the image: open /etc in the image: too many levels of symbolic links"},
	{"folder is a file", []string{"etc"}, "", "write /etc/name in the image: open /etc in the image: not a directory"},
	{"folder is a FIFO", []string{"etc|"}, "", "write /etc/name in the image: open /etc in the image: not a directory"},
}

func newImage(t *testing.T, things []string) (base, image string, root *Root) {
	t.Helper()
	base = imagetest.RealPath(t, t.TempDir())
	image = filepath.Join(base, "image")
	imagetest.Place(t, base, "outside/", "outside/kept", "image/")
	imagetest.Place(t, image, things...)
	root, err := Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return base, image, root
}

func checkOutside(t *testing.T, base string) {
	t.Helper()
	if diff := cmp.Diff([]string{"kept ----------"}, imagetest.Tree(t, filepath.Join(base, "outside"))); diff != "" {
		t.Errorf("outside of the image (-want +got):\n%s", diff)
	}
	if got, err := os.ReadFile(filepath.Join(base, "outside/kept")); string(got) != "content of the image" || err != nil {
		t.Errorf("file outside of the image = %q, %v", got, err)
	}
}

func TestReplaceFile(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			base, image, root := newImage(t, test.image)
			err := root.ReplaceFile("/etc/name", []byte("content"), 0o640)
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			checkOutside(t, base)
			if err != nil {
				return
			}
			file := filepath.Join(image, test.want)
			info, err := os.Lstat(file)
			if err != nil || info.Mode() != 0o640 {
				t.Fatalf("got %v, %v, want a regular file with mode 640", info, err)
			}
			if got, err := os.ReadFile(file); string(got) != "content" || err != nil {
				t.Errorf("got content %q, %v", got, err)
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(file), ".name.kindling")); !os.IsNotExist(err) {
				t.Errorf("temporary file: got %v, want none", err)
			}
		})
	}
}

func TestReplaceLink(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			base, image, root := newImage(t, test.image)
			err := root.ReplaceLink("/etc/name", "/to/where")
			checkOutside(t, base)
			if (err == nil) != (test.wantErr == "") {
				t.Errorf("got error %v", err)
			}
			if err != nil {
				return
			}
			if got, err := os.Readlink(filepath.Join(image, test.want)); got != "/to/where" || err != nil {
				t.Errorf("got link to %q, %v", got, err)
			}
		})
	}
}

func TestRemoveAll(t *testing.T) {
	base, image, root := newImage(t, []string{
		"etc/", "etc/name/deep/", "etc/name/file", "etc/name/out -> ../../../outside", "etc/link -> /outside", "opt -> ../outside", "loop -> loop", "kept",
	})
	for _, name := range []string{"/etc/name", "/etc/name", "/etc/link", "/opt/kept", "/no/parent", "/loop", "opt"} {
		if err := root.RemoveAll(name); err != nil {
			t.Error(err)
		}
	}
	checkOutside(t, base)
	if diff := cmp.Diff([]string{"etc d---------", "kept ----------"}, imagetest.Tree(t, image)); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	want := "open /kept in the image: not a directory"
	if err := root.RemoveAll("/kept/below"); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestRemoveAllKeepsMounts(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	_, image, root := newImage(t, []string{"src/", "src/deep/volume/", "src/file", "data/", "data/kept"})
	if err := unix.Mount(filepath.Join(image, "data"), filepath.Join(image, "src/deep/volume"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	want := "remove /src in the image: volume: invalid cross-device link"
	if err := root.RemoveAll("/src"); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if err := unix.Unmount(filepath.Join(image, "src/deep/volume"), 0); err != nil {
		t.Error(err)
	}
	got := imagetest.Tree(t, image)
	if diff := cmp.Diff([]string{"data d---------", "data/kept ----------", "src d---------", "src/deep d---------", "src/deep/volume d---------"}, got); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}

// TestOnOverlay has an image as guests have it, below a layer of their own.
func TestOnOverlay(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	base := nstest.TempDir(t)
	imagetest.Place(t, base, "lower/etc/name/deep/", "lower/etc/name/deep/file", "lower/etc/link -> /dev/vda", "lower/etc/file", "lower/src/deep/er/", "lower/src/deep/file", "upper/", "work/", "image/")
	image := filepath.Join(base, "image")
	// In a user namespace, an overlay keeps its notes in attributes that users may set.
	layers := "userxattr,lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", image, "overlay", 0, layers); err != nil {
		t.Fatal(err)
	}
	root, err := Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for range 2 {
		for _, name := range []string{"/etc/name", "/etc/link", "/etc/file", "/etc/new"} {
			if err := root.ReplaceFile(name, []byte("content"), 0o644); err != nil {
				t.Error(err)
			}
		}
		if err := root.ReplaceLink("/etc/to", "file"); err != nil {
			t.Error(err)
		}
		if err := root.RemoveAll("/src"); err != nil {
			t.Error(err)
		}
	}
	want := []string{"etc d---------", "etc/file ----------", "etc/link ----------", "etc/name ----------", "etc/new ----------", "etc/to L---------"}
	if diff := cmp.Diff(want, imagetest.Tree(t, image)); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(base, "lower/src/deep/file")); err != nil {
		t.Error(err)
	}
}

// TestReplaceFails checks that nothing is left of a file that has no place.
func TestReplaceFails(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	base := nstest.TempDir(t)
	imagetest.Place(t, base, "etc/name/", "etc/name/kept")
	if err := unix.Mount(base+"/etc/name", base+"/etc/name", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	root, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.ReplaceFile("/etc/name", nil, 0o644); err == nil {
		t.Error("file: got no error")
	}
	if err := root.ReplaceLink("/etc/name", "to"); err == nil {
		t.Error("link: got no error")
	}
	want := []string{"etc d---------", "etc/name d---------", "etc/name/kept ----------"}
	if diff := cmp.Diff(want, imagetest.Tree(t, base)); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}

func TestReplaceRoot(t *testing.T) {
	_, _, root := newImage(t, nil)
	for _, name := range []string{"/", "", "..", "/../."} {
		want := "write / in the image: is a directory"
		if err := root.ReplaceFile(name, nil, 0o644); err == nil || err.Error() != want {
			t.Errorf("%q: got error %v, want %s", name, err, want)
		}
	}
}

func TestEnsureDirectory(t *testing.T) {
	tests := []struct {
		name    string
		dir     string
		image   []string
		want    string
		wantErr string
	}{
		{"new", "/data/volume", nil, "data/volume", ""},
		{"the root", "/", nil, "", ""},
		{".. out", "../../data", nil, "data", ""},
		{"link out that is there inside", "/data/volume", []string{"data -> ../../outside", "outside/"}, "outside/volume", ""},
		{"link out", "/data/volume", []string{"data -> ../../outside"}, "", "open /data in the image: no such file or directory"},
		{"link", "/data", []string{"data -> /srv", "srv/"}, "srv", ""},
		{"loop", "/data", []string{"data -> data"}, "", "open /data in the image: too many levels of symbolic links"},
		{"file", "/data", []string{"data"}, "", "open /data in the image: not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base, image, root := newImage(t, test.image)
			fd, err := root.EnsureDirectory(test.dir)
			checkOutside(t, base)
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Fatalf("got error %v, want %q", err, test.wantErr)
			}
			if err != nil {
				return
			}
			defer unix.Close(fd)
			if got, err := os.Readlink(fdPath(fd)); got != filepath.Join(image, test.want) || err != nil {
				t.Errorf("opened %s, %v, want %s of the image", got, err, test.want)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	_, _, root := newImage(t, []string{
		"file", "dir/", "fifo|", "link -> /dir/../file", "out -> ../outside/kept", "loop -> loop",
	})
	tests := []struct {
		name    string
		limit   int64
		want    string
		wantErr string
	}{
		{"/file", 20, "content of the image", ""},
		{"link", 1 << 20, "content of the image", ""},
		{"/file", 19, "", "read /file in the image: more than 19 bytes"},
		{"/dir", 20, "", "/dir in the image is no regular file"},
		{"/fifo", 20, "", "/fifo in the image is no regular file"},
		{"/out", 20, "", "open /out in the image: no such file or directory"},
		{"/loop", 20, "", "open /loop in the image: too many levels of symbolic links"},
	}
	for _, test := range tests {
		got, err := root.ReadFile(test.name, test.limit)
		if string(got) != test.want || (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got %q, %v, want %q, %q", test.name, got, err, test.want, test.wantErr)
		}
	}
}
