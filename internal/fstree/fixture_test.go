package fstree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one entry of a layer's tar.
type entry struct {
	tar.Header
	body string
}

func dir(name string) entry {
	return entry{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}}
}

func file(name, body string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}, body: body}
}

func link(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hard(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644}}
}

func (e entry) mode(mode int64) entry {
	e.Mode = mode
	return e
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("write header of %q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type layers [][]entry

func (l layers) apply(t testing.TB, tree *Tree) error {
	t.Helper()
	for _, entries := range l {
		if err := tree.AddTar(bytes.NewReader(tarOf(t, entries...))); err != nil {
			return err
		}
	}
	return nil
}

// applyFiles is apply with each layer in a file of the host.
func (l layers) applyFiles(t testing.TB, tree *Tree) error {
	t.Helper()
	for _, entries := range l {
		if err := tree.AddFile(hostFileOf(t, tarOf(t, entries...))); err != nil {
			return err
		}
	}
	return nil
}

// hostFileOf writes a file of the host and gives its name.
func hostFileOf(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// layerCase is a stack of layers and the one right answer to it.
type layerCase struct {
	name   string
	layers layers
	want   []string // the tree, in the lines of describe
	err    string   // or the end of the error
}

// allCases is what the tables of this package say, for whoever wants odd layers.
func allCases() []layerCase {
	return slices.Concat(nameCases, replaceCases, linkCases, hardLinkCases, whiteoutCases, metadataCases)
}

func runCases(t *testing.T, cases []layerCase) {
	t.Helper()
	for _, c := range cases {
		for how, apply := range map[string]func(testing.TB, *Tree) error{"": c.layers.apply, " in a file": c.layers.applyFiles} {
			t.Run(c.name+how, func(t *testing.T) {
				tree := newTree(t)
				err := apply(t, tree)
				if c.err != "" {
					if err == nil || !strings.HasSuffix(err.Error(), c.err) {
						t.Fatalf("got error %v\nwant %s", err, c.err)
					}
					checkUnusable(t, tree, err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, describe(t, tree)); diff != "" {
					t.Errorf("tree (-want +got):\n%s", diff)
				}
				checkConsistent(t, tree)
			})
		}
	}
}

// checkUnusable checks that a half-applied layer cannot be taken for a tree.
func checkUnusable(t *testing.T, tree *Tree, cause error) {
	t.Helper()
	for path := range tree.All() {
		t.Fatalf("All has %q after an error", path)
	}
	_, lookupErr := tree.Lookup("/")
	for what, err := range map[string]error{
		"AddTar": tree.AddTar(bytes.NewReader(nil)), "WriteTar": tree.WriteTar(io.Discard),
		"PlaceDir": tree.PlaceDir("new", Meta{}), "Lookup": lookupErr,
	} {
		if !errors.Is(err, cause) {
			t.Errorf("%s after an error: got %v, want %v", what, err, cause)
		}
	}
}

// rawHeader is a ustar header block with fields that archive/tar would not write.
func rawHeader(change func(block []byte)) []byte {
	block := make([]byte, 512)
	copy(block, "name")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	block[156] = '0'
	copy(block[257:], "ustar\x0000")
	change(block)
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

func newTree(t testing.TB) *Tree {
	t.Helper()
	tree, err := New("") // the spool has no name: nothing to clean up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

// describe is one line a node: path, type, mode, owner if not root, and what it
// holds. Names of one inode say so.
func describe(t testing.TB, tree *Tree) []string {
	t.Helper()
	var lines []string
	first := map[*Inode]string{}
	for path, n := range tree.All() {
		if got := n.Path(); got != path {
			t.Errorf("Path() = %q, All has %q", got, path)
		}
		line := fmt.Sprintf("%s %s %#o", path, n.Type, n.Mode)
		if n.UID != 0 || n.GID != 0 {
			line += fmt.Sprintf(" %d:%d", n.UID, n.GID)
		}
		switch n.Type {
		case Regular:
			content, err := io.ReadAll(tree.Open(n))
			if err != nil {
				t.Fatalf("read %s: %v", path, err)
			}
			line += fmt.Sprintf(" %q", content)
		case Symlink:
			line += " -> " + n.Target
		case CharDevice, BlockDevice:
			line += fmt.Sprintf(" %d,%d", n.Major, n.Minor)
		}
		if n.Nlink > 1 {
			if name, ok := first[n.Inode]; ok {
				line += " = " + name
			} else {
				first[n.Inode] = path
				line += fmt.Sprintf(" nlink %d", n.Nlink)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// checkConsistent checks what must hold of every tree, however it came about.
func checkConsistent(t testing.TB, tree *Tree) {
	t.Helper()
	names := map[*Inode]int{}
	var paths []string
	for path, n := range tree.All() {
		paths = append(paths, path)
		names[n.Inode]++
		if n.parent == nil || n.parent.Type != Directory || n.parent.children[n.name] != n {
			t.Fatalf("%q is not in a directory", path)
		}
		if (n.Type == Directory) != (n.children != nil) {
			t.Fatalf("%q: type %v, children %v", path, n.Type, n.children)
		}
		if len(path) != n.pathLen || len(path) > tree.Limits.PathBytes {
			t.Fatalf("%q: path of %d bytes, %d counted", path, len(path), n.pathLen)
		}
		for part := range strings.SplitSeq(path, "/") {
			if part == "" || part == "." || part == ".." || strings.HasPrefix(part, whiteoutPrefix) || strings.Contains(part, "\x00") {
				t.Fatalf("%q has component %q", path, part)
			}
		}
	}
	if !slices.IsSorted(paths) {
		t.Errorf("All is not sorted: %q", paths)
	}
	for inode, count := range names {
		if inode.Nlink != count {
			t.Errorf("inode %+v has %d names", inode, count)
		}
	}
}
