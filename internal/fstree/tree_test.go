package fstree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlace(t *testing.T) {
	tree := newTree(t)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("from disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		do   func() error
		want error
	}{
		{"directory", func() error { return tree.PlaceDir("/usr/bin/", Meta{Mode: 0o750}) }, nil},
		{"link", func() error { return tree.PlaceSymlink("bin", "/usr/bin", Meta{Mode: 0o777}) }, nil},
		{"file through link", func() error { return tree.PlaceFile("bin/a", Meta{Mode: 0o4755, UID: 7}, strings.NewReader("a"), 1) }, nil},
		{"empty file", func() error { return tree.PlaceFile("usr/bin-empty", Meta{}, strings.NewReader(""), 0) }, nil},
		{"file from disk", func() error { return tree.PlaceFileFrom("x/y/z", Meta{Mode: 0o444}, source) }, nil},
		{"ensured, there", func() error { return tree.EnsureDir("bin", Meta{Mode: 0o700}) }, nil},
		{"ensured, missing", func() error { return tree.EnsureDir("tmp", Meta{Mode: 0o1777}) }, nil},

		{"duplicate file", func() error { return tree.PlaceFile("usr/bin/a", Meta{}, strings.NewReader("b"), 1) }, fs.ErrExist},
		{"duplicate directory", func() error { return tree.PlaceDir("./usr", Meta{}) }, fs.ErrExist},
		{"over a link", func() error { return tree.PlaceDir("bin", Meta{}) }, fs.ErrExist},
		{"root", func() error { return tree.PlaceDir("/", Meta{}) }, fs.ErrExist},
		{"below a file", func() error { return tree.PlaceDir("bin/a/b", Meta{}) }, syscall.ENOTDIR},
		{"ensured over a file", func() error { return tree.EnsureDir("bin/a", Meta{}) }, fs.ErrExist},
		{"source missing", func() error { return tree.PlaceFileFrom("n", Meta{}, source+"x") }, fs.ErrNotExist},
	}
	for _, step := range steps {
		if err := step.do(); !errors.Is(err, step.want) || err != nil && step.want == nil {
			t.Errorf("%s: got error %v, want %v", step.name, err, step.want)
		}
	}
	failures := []struct {
		name, want string
		do         func() error
	}{
		{"dots", `place directory a/../b: name contains ".."`, func() error { return tree.PlaceDir("a/../b", Meta{}) }},
		{"NUL", "place directory a\x00: name contains NUL", func() error { return tree.PlaceDir("a\x00", Meta{}) }},
		{"whiteout", "place directory a/.wh.b: name starts with .wh., which is kept for whiteouts", func() error { return tree.PlaceDir("a/.wh.b", Meta{}) }},
		{"mode", "place directory m: mode 0100644 is not one of permissions", func() error { return tree.PlaceDir("m", Meta{Mode: 0o100644}) }},
		{"short", "place file s: copy content: unexpected EOF: 1 of 2 bytes", func() error { return tree.PlaceFile("s", Meta{}, strings.NewReader("a"), 2) }},
		{"long", "place file s: content is longer than 2 bytes", func() error { return tree.PlaceFile("s", Meta{}, strings.NewReader("abc"), 2) }},
		{"negative", "place file s: size -1 is negative", func() error { return tree.PlaceFile("s", Meta{}, strings.NewReader("abc"), -1) }},
		{"empty target", `place link s: link target "" is not a path`, func() error { return tree.PlaceSymlink("s", "", Meta{}) }},
		{"directory as source", "place file s: " + filepath.Dir(source) + " is not a regular file", func() error { return tree.PlaceFileFrom("s", Meta{}, filepath.Dir(source)) }},
	}
	for _, failure := range failures {
		if err := failure.do(); err == nil || err.Error() != failure.want {
			t.Errorf("%s: got error %v, want %s", failure.name, err, failure.want)
		}
	}
	want := []string{
		"bin link 0777 -> /usr/bin",
		"tmp dir 01777",
		"usr dir 0755",
		"usr/bin dir 0750",
		`usr/bin-empty file 0 ""`, // '-' is before '/'
		`usr/bin/a file 04755 7:0 "a"`,
		"x dir 0755",
		"x/y dir 0755",
		`x/y/z file 0444 "from disk"`,
	}
	if diff := cmp.Diff(want, describe(t, tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	checkConsistent(t, tree)
}

func TestLookup(t *testing.T) {
	tree := newTree(t)
	deep := strings.Repeat("../", 1300) + "usr"
	layer := tarOf(t, dir("usr/bin"), file("usr/bin/sh", "sh"),
		link("bin", "usr/bin"), link("abs", "/usr"), link("up", "../../usr/./bin"), link("dangling", "nowhere"),
		link("usr/bin/up", ".."), link("usr/sh", "bin/sh"), link("loop", "loop2"), link("loop2", "loop"),
		link("deep", deep), link("deeper", strings.Repeat("deep/../", 40)+"usr"))
	if err := tree.AddTar(bytes.NewReader(layer)); err != nil {
		t.Fatal(err)
	}
	chain := "usr"
	for i := range 41 {
		name := fmt.Sprint("chain", i)
		if err := tree.PlaceSymlink(name, chain, Meta{}); err != nil {
			t.Fatal(err)
		}
		chain = name
	}
	tests := []struct {
		path, want string
		err        error
	}{
		{"", "", nil},
		{"/", "", nil},
		{"bin/sh", "usr/bin/sh", nil},
		{"/abs/sh", "usr/bin/sh", nil},
		{"up/sh", "usr/bin/sh", nil},
		{"bin/up", "usr", nil},
		{"bin/up/bin", "usr/bin", nil},
		{"./deep/bin/", "usr/bin", nil},
		{"chain39", "usr", nil},
		{"chain40", "", syscall.ELOOP},
		{"loop", "", syscall.ELOOP},
		{"loop/x", "", syscall.ELOOP},
		{"deeper", "", syscall.ELOOP},
		{"dangling", "", fs.ErrNotExist},
		{"bin/bash", "", fs.ErrNotExist},
		{"bin/sh/x", "", syscall.ENOTDIR},
	}
	for _, test := range tests {
		n, err := tree.Lookup(test.path)
		if !errors.Is(err, test.err) {
			t.Errorf("Lookup(%q): got error %v, want %v", test.path, err, test.err)
		} else if err == nil && n.Path() != test.want {
			t.Errorf("Lookup(%q) = %q, want %q", test.path, n.Path(), test.want)
		}
	}
	if n, err := tree.Lstat("/abs/sh"); err != nil || n.Path() != "usr/sh" || n.Type != Symlink {
		t.Errorf("Lstat = %v, %v, want the link usr/sh", n, err)
	}
	if n, err := tree.Lstat("/"); err != nil || n != tree.Root() {
		t.Errorf("Lstat(/) = %v, %v, want the root", n, err)
	}
	if _, err := tree.Lstat("bin/bash"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat of a missing file: got error %v", err)
	}
	if _, err := tree.Lookup("../x"); err == nil || err.Error() != `lookup ../x: name contains ".."` {
		t.Errorf("Lookup(../x): got error %v", err)
	}
}

func TestAllStops(t *testing.T) {
	tree := newTree(t)
	if err := tree.AddTar(bytes.NewReader(tarOf(t, file("a/b/c", ""), file("d", "")))); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path := range tree.All() {
		got = append(got, path)
		if path == "a/b" {
			break
		}
	}
	if diff := cmp.Diff([]string{"a", "a/b"}, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestWriteTar(t *testing.T) {
	old, recent := time.Unix(-86400*365*10, 5), time.Unix(1<<33, 0)
	entries := []entry{
		{Header: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 3}},
		{Header: tar.Header{Name: "z", Mode: 0o4711, Uid: 1 << 31, Gid: 1<<32 - 2, ModTime: old, Size: 2, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.b": "2\x00\xff", "SCHILY.xattr.security.capability": "cap"}}, body: "zz"},
		hard("a/linked", "z"),
		{Header: tar.Header{Name: "a-b", Typeflag: tar.TypeSymlink, Linkname: "\xff\n\\", ModTime: recent}},
		hard("a/linked-symlink", "a-b"),
		{Header: tar.Header{Name: "c", Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: 5, Devminor: 1}},
		{Header: tar.Header{Name: "b", Typeflag: tar.TypeBlock, Mode: 0o600, Devmajor: 4095, Devminor: 1<<20 - 1}},
		hard("b2", "b"),
		{Header: tar.Header{Name: "f", Typeflag: tar.TypeFifo, Mode: 0o644}},
		file(strings.Repeat("long/", 100)+"name", "x"),
	}
	tree := newTree(t)
	if err := tree.AddTar(bytes.NewReader(tarOf(t, entries...))); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := tree.WriteTar(&first); err != nil {
		t.Fatal(err)
	}
	again := newTree(t)
	if err := again.AddTar(bytes.NewReader(first.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := again.WriteTar(&second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("tar of the tree that was made from the tar differs")
	}
	if diff := cmp.Diff(describe(t, tree), describe(t, again)); diff != "" {
		t.Errorf("tree (-written +read):\n%s", diff)
	}
	z, err := again.Lookup("z")
	if err != nil {
		t.Fatal(err)
	}
	want := Meta{Mode: 0o4711, UID: 1 << 31, GID: 1<<32 - 2, ModTime: old,
		Xattrs: map[string]string{"user.b": "2\x00\xff", "security.capability": "cap"}}
	if diff := cmp.Diff(want, z.Meta); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if root := again.Root(); root.Mode != 0o700 || root.UID != 3 {
		t.Errorf("root = %+v, want mode 0700, uid 3", root.Meta)
	}
	archive := tar.NewReader(&first)
	var links []string
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeLink {
			links = append(links, header.Name+" -> "+header.Linkname)
		}
	}
	if diff := cmp.Diff([]string{"a/linked-symlink -> a-b", "b2 -> b", "z -> a/linked"}, links); diff != "" {
		t.Errorf("hard links (-want +got):\n%s", diff)
	}
}

// failAfter is a writer that takes n bytes.
type failAfter int

func (f *failAfter) Write(p []byte) (int, error) {
	if *f -= failAfter(len(p)); *f < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestWriteTarFails(t *testing.T) {
	tree := newTree(t)
	if err := tree.AddTar(bytes.NewReader(tarOf(t, file("a", "content"), dir("d")))); err != nil {
		t.Fatal(err)
	}
	var full bytes.Buffer
	if err := tree.WriteTar(&full); err != nil {
		t.Fatal(err)
	}
	for room := 0; room < full.Len(); room += 256 {
		w := failAfter(room)
		if err := tree.WriteTar(&w); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("WriteTar with room for %d bytes: got error %v", room, err)
		}
	}
}

func TestSpool(t *testing.T) {
	if _, err := New(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("New in a missing folder: got error %v", err)
	}
	folder := t.TempDir()
	tree, err := New(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.PlaceFile("a", Meta{}, strings.NewReader("abc"), 3); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("folder of the spool has %v, %v, want nothing", left, err)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if err := tree.WriteTar(io.Discard); err == nil {
		t.Error("WriteTar of a closed tree: no error")
	}
}
