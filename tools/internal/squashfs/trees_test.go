package squashfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/internal/fstree"
)

func newTree(t testing.TB) *fstree.Tree {
	t.Helper()
	tree, err := fstree.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() }) // an error if the test has closed it
	return tree
}

// place puts files with content, directories that end with a slash and links
// "name -> target" into the tree.
func place(t testing.TB, tree *fstree.Tree, name, content string) {
	t.Helper()
	meta := fstree.Meta{Mode: 0o644, ModTime: time.Unix(1700000000, 0)}
	var err error
	if link, target, ok := strings.Cut(name, " -> "); ok {
		meta.Mode = 0o777
		err = tree.PlaceSymlink(link, target, meta)
	} else if strings.HasSuffix(name, "/") {
		meta.Mode = 0o755
		err = tree.PlaceDir(name, meta)
	} else {
		err = tree.PlaceFile(name, meta, strings.NewReader(content), int64(len(content)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func addTar(t testing.TB, tree *fstree.Tree, headers ...tar.Header) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		body := "content of " + h.Name
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tree.AddTar(&buf); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(b); err != nil {
		panic(err)
	}
	return string(b)
}

// trees are trees that meet the edges of the format.
var trees = []struct {
	name string
	fill func(t testing.TB, tree *fstree.Tree)
}{
	{"empty", func(testing.TB, *fstree.Tree) {}},
	{"one file", func(t testing.TB, tree *fstree.Tree) { place(t, tree, "a", "hi") }},
	{"empty file", func(t testing.TB, tree *fstree.Tree) { place(t, tree, "a", "") }},
	{"file sizes", func(t testing.TB, tree *fstree.Tree) {
		text := strings.Repeat("some text\n", blockSize)
		for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize, 3*blockSize + 17} {
			place(t, tree, fmt.Sprint("text", size), text[:size])
			place(t, tree, fmt.Sprint("text-again", size), text[:size])
			place(t, tree, fmt.Sprint("noise", size), noise(size))
			place(t, tree, fmt.Sprint("zeros", size), string(make([]byte, size)))
		}
	}},
	{"metadata", func(t testing.TB, tree *fstree.Tree) {
		addTar(t, tree,
			tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o1777, Uid: 7, Gid: 8, ModTime: time.Unix(1, 0)},
			tar.Header{Typeflag: tar.TypeReg, Name: "suid", Mode: 0o6755, Uid: 1<<32 - 2, Gid: 1 << 31,
				ModTime: time.Unix(math.MaxUint32, 0)},
			tar.Header{Typeflag: tar.TypeReg, Name: "none", Uid: 7, Gid: 7, ModTime: time.Unix(0, 0)},
			tar.Header{Typeflag: tar.TypeReg, Name: "b/linked", Mode: 0o640, ModTime: time.Unix(2, 0)},
			tar.Header{Typeflag: tar.TypeLink, Name: "a/linked", Linkname: "b/linked"},
			tar.Header{Typeflag: tar.TypeLink, Name: "linked", Linkname: "b/linked"},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: strings.Repeat("t/", 2047) + "t",
				Mode: 0o777, ModTime: time.Unix(3, 0)},
			tar.Header{Typeflag: tar.TypeLink, Name: "z/link", Linkname: "link"})
	}},
	{"large directory", func(t testing.TB, tree *fstree.Tree) {
		place(t, tree, "before/x", "")
		for i := range 3000 {
			place(t, tree, fmt.Sprintf("d/entry %d of many", i*i), fmt.Sprint(i%100))
		}
		place(t, tree, "d/entry 5/", "")
		place(t, tree, "d/last -> "+strings.Repeat("l", 100), "")
	}},
	{"far inode numbers", func(t testing.TB, tree *fstree.Tree) {
		place(t, tree, "a/", "")
		place(t, tree, "c/", "")
		for i := range 33000 {
			place(t, tree, fmt.Sprintf("b/%d -> x", i), "")
		}
	}},
	{"long names", func(t testing.TB, tree *fstree.Tree) {
		for i := range 100 {
			place(t, tree, "d/"+strings.Repeat(string(rune('a'+i%26)), 255-i), "x")
		}
	}},
	{"deep", func(t testing.TB, tree *fstree.Tree) { place(t, tree, strings.Repeat("d/", 1500)+"f", "deep") }},
	{"order of names", func(t testing.TB, tree *fstree.Tree) {
		for _, name := range []string{"a/b", "a-b", "a.b/c", "A", "\xc3\xa4", "z"} {
			place(t, tree, name, name)
		}
	}},
}

func fill(t testing.TB, f func(testing.TB, *fstree.Tree)) *fstree.Tree {
	t.Helper()
	tree := newTree(t)
	tree.Limits.NameBytes = 300
	f(t, tree)
	return tree
}

// describe is one line a file. What is a link's target, the digest of a file's
// content or, for another name of a file, its first one.
func describe(path, kind string, mode, uid, gid, seconds uint32, nlink, size int, what string) string {
	return fmt.Sprintf("/%s %s %#o %d:%d at %d links %d size %d %s",
		path, kind, mode, uid, gid, seconds, nlink, size, what)
}

func describeTree(t testing.TB, tree *fstree.Tree) []string {
	t.Helper()
	var lines []string
	first := map[*fstree.Inode]string{}
	add := func(path string, n *fstree.Node) {
		size, what := int(n.Size), ""
		switch n.Type {
		case fstree.Symlink:
			size, what = len(n.Target), n.Target
		case fstree.Regular:
			content, err := io.ReadAll(tree.Open(n))
			if err != nil {
				t.Fatal(err)
			}
			what = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		nlink := n.Nlink
		if n.Type == fstree.Directory {
			nlink = 0
		}
		if name, ok := first[n.Inode]; ok {
			what = "= /" + name
		} else {
			first[n.Inode] = path
		}
		var seconds uint32
		if !n.ModTime.IsZero() {
			seconds = uint32(n.ModTime.Unix())
		}
		line := describe(path, n.Type.String(), n.Mode, n.UID, n.GID, seconds, nlink, size, what)
		lines = append(lines, line)
	}
	add("", tree.Root())
	for path, n := range tree.All() {
		add(path, n)
	}
	return lines
}
