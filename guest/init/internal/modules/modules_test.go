package modules

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

// open makes a tree of kernel 6.12 with a modules.dep and files whose content is
// their name, and gives its set and what that loads.
func open(t *testing.T, dependencies string, files ...string) (*Set, *[]string) {
	t.Helper()
	dir := t.TempDir()
	imagetest.Place(t, dir, "lib/modules/6.12/kernel/")
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, "lib/modules/6.12", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lib/modules/6.12/modules.dep"), []byte(dependencies), 0o644); err != nil {
		t.Fatal(err)
	}
	set := openSet(t, dir)
	loaded := new([]string)
	set.insert = func(module *os.File, parameters string, flags int) error {
		content, err := io.ReadAll(module)
		*loaded = append(*loaded, string(content)+" "+parameters+" "+strconv.Itoa(flags))
		return err
	}
	return set, loaded
}

func openSet(t *testing.T, dir string) *Set {
	t.Helper()
	root, err := inroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	set, err := Open(root, "6.12")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestLoad(t *testing.T) {
	set, loaded := open(t, "kernel/drm-kms.ko.zst: kernel/drm.ko.xz kernel/i2c.ko\nkernel/drm.ko.xz: kernel/i2c.ko\nkernel/i2c.ko:\nkernel/gone.ko:\n",
		"kernel/drm-kms.ko.zst", "kernel/drm.ko.xz", "kernel/i2c.ko")
	for _, name := range []string{"drm-kms", "drm_kms", "drm", "i2c", "gone"} {
		if !set.Has(name) {
			t.Errorf("Has(%s) = false", name)
		}
	}
	for _, name := range []string{"drm_kms", "drm-kms", "i2c"} {
		if err := set.Load(name, "modeset=1"); err != nil {
			t.Error(err)
		}
	}
	want := []string{"kernel/i2c.ko  0", "kernel/drm.ko.xz  4", "kernel/drm-kms.ko.zst modeset=1 4"}
	if diff := cmp.Diff(want, *loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"gone":  "open /lib/modules/6.12/kernel/gone.ko in the image: no such file or directory",
		"other": "module other is not in /lib/modules/6.12/modules.dep",
	} {
		if err := set.Load(name, ""); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
	if set.Has("other") {
		t.Error("Has(other) = true")
	}
}

func TestLoadRefused(t *testing.T) {
	set, _ := open(t, "a.ko: b.ko\nb.ko:\n", "a.ko", "b.ko")
	answers := map[string]error{"a.ko": unix.ENOEXEC, "b.ko": unix.EEXIST}
	set.insert = func(module *os.File, _ string, _ int) error {
		content, err := io.ReadAll(module)
		return errors.Join(err, answers[string(content)])
	}
	want := "load module /lib/modules/6.12/a.ko: exec format error"
	if err := set.Load("a", ""); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	answers["a.ko"] = nil
	if err := set.Load("a", ""); err != nil {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	set := openSet(t, t.TempDir())
	if set.Has("nvidia") {
		t.Error("empty tree has a module")
	}
	dir := t.TempDir()
	imagetest.Place(t, dir, "lib/modules/6.12/", "lib/modules/6.12/modules.dep")
	root, err := inroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	want := `parse /lib/modules/6.12/modules.dep: no colon in "content of the image"`
	if _, err := Open(root, "6.12"); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// TestInsert asks the real kernel, which refuses what is no module or has no
// modules at all.
func TestInsert(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := insert(file, "", 0); err == nil {
		t.Error("got no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n")
	f.Add(":::\n\n")
	f.Fuzz(func(t *testing.T, dependencies string) {
		needs, err := parse(dependencies)
		if err != nil && needs != nil {
			t.Errorf("got %q of what was refused", needs)
		}
		for name, files := range needs {
			if len(files) == 0 || nameOf(files[0]) != name {
				t.Errorf("module %q has files %q", name, files)
			}
		}
	})
}
