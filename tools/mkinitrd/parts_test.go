package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// placed gives a tree with a file of the host for each content.
func placed(t *testing.T, contents [][]byte) *fstree.Tree {
	t.Helper()
	tree, err := fstree.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	f := newFixture(t)
	for i, content := range contents {
		name := fmt.Sprintf("%05d", i)
		if err := tree.PlaceFileFrom(name, fstree.Meta{Mode: 0o444}, f.write(name, content)); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// inMemory writes an archive of a tree.
func inMemory(t *testing.T, tree *fstree.Tree) (*archive, []byte) {
	t.Helper()
	a, err := newArchive(tree, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := a.split()
	last := parts[len(parts)-1]
	data := make(memory, last.offset+last.size)
	if err := a.write(data, parts); err != nil {
		t.Fatal(err)
	}
	return a, data
}

// TestParts compares with an archive that is written in one piece.
func TestParts(t *testing.T) {
	var contents [][]byte
	for _, size := range []int{0, 1, 3 * blockSize, blockSize - 1, blockSize, blockSize + 1, partSize - 300, gatherSize, 20 * partSize, 0} {
		contents = append(contents, bytes.Repeat([]byte{byte(size), 1, 2}, size/3+1)[:size])
	}
	for i := range 2000 {
		contents = append(contents, bytes.Repeat([]byte{byte(i)}, i%700))
	}
	tree := placed(t, contents)
	var want bytes.Buffer
	w := newc.NewWriter(&want)
	header := newc.Header{Name: ".", Mode: newc.TypeDir | 0o755, Inode: 1, Nlink: 2}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	for i, content := range contents {
		header := newc.Header{Name: fmt.Sprintf("%05d", i), Mode: newc.TypeRegular | 0o444, Inode: uint32(i) + 2, Nlink: 1, Size: int64(len(content))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, processors := range []int{1, 2, 16} {
		old := runtime.GOMAXPROCS(processors)
		a, got := inMemory(t, tree)
		runtime.GOMAXPROCS(old)
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%d processors: archive differs", processors)
		}
		for i, content := range contents {
			if sum := a.members[i+1].digest; *sum != sha256.Sum256(content) {
				t.Errorf("%d processors: digest of content %d, of %d bytes, is %x", processors, i, len(content), *sum)
			}
		}
	}
}

// writerAt calls itself.
type writerAt func(p []byte, offset int64) (int, error)

func (w writerAt) WriteAt(p []byte, offset int64) (int, error) { return w(p, offset) }

func TestPartsFullDisk(t *testing.T) {
	tree := placed(t, [][]byte{make([]byte, 3*partSize), {1}, make([]byte, partSize)})
	a, err := newArchive(tree, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	full := writerAt(func([]byte, int64) (int, error) { return 0, syscall.ENOSPC })
	if err := a.write(full, a.split()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v, want %v", err, syscall.ENOSPC)
	}
}

// archiveOfBlocks is an archive of one file, which is six blocks long.
func archiveOfBlocks(t *testing.T) (input string, a *archive) {
	t.Helper()
	f := newFixture(t)
	input = f.write("x", make([]byte, 6*blockSize))
	tree := placed(t, nil)
	if err := tree.PlaceFileFrom("x", fstree.Meta{}, input); err != nil {
		t.Fatal(err)
	}
	a, err := newArchive(tree, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return input, a
}

// TestPartsOfChangedFile is about an input that does not stay as it is.
func TestPartsOfChangedFile(t *testing.T) {
	tests := []struct {
		name string
		size int64
		want string
	}{
		{"shorter", 5 * blockSize, "changed while it was in use"},
		{"empty", 0, "changed while it was in use"},
		{"longer", 7 * blockSize, "changed while it was in use"},
	}
	for _, test := range tests {
		input, a := archiveOfBlocks(t)
		if err := os.Truncate(input, test.size); err != nil {
			t.Fatal(err)
		}
		discard := writerAt(func(p []byte, _ int64) (int, error) { return len(p), nil })
		if err := a.write(discard, a.split()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
}

// TestPartsOfShrinkingFile is about one that is open already.
func TestPartsOfShrinkingFile(t *testing.T) {
	input, a := archiveOfBlocks(t)
	shrink := writerAt(func(p []byte, offset int64) (int, error) {
		if offset > 0 {
			return len(p), nil
		}
		return len(p), os.Truncate(input, 2*blockSize+1) // the first block was read
	})
	if err := a.write(shrink, a.split()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// TestLayerFormats is about the same layer, read in place and through a spool.
func TestLayerFormats(t *testing.T) {
	f := newFixture(t)
	entries := []entry{dir("d"), file("d/z", 0o644, "with three names"), hard("b", "d/z"), hard("z", "d/z"),
		file("a", 0o644, "old"), file("a", 0o644, ""), file("large", 0o755, string(make([]byte, 3*blockSize)))}
	for i := range 200 {
		entries = append(entries, file(fmt.Sprintf("many/%03d", 199-i), 0o644, fmt.Sprint(i)))
	}
	data := tarOf(t, entries)
	f.mustSegment("plain", nil, "--layer="+f.write("l.tar", data))
	f.mustSegment("packed", nil, "--layer="+f.write("l.tar.gz", gzipOf(t, data)))
	for _, name := range []string{".cpio", ".mtree"} {
		if diff := cmp.Diff(f.read("packed"+name), f.read("plain"+name)); diff != "" {
			t.Errorf("%s (-gzip +plain):\n%s", name, diff)
		}
	}
	sum := fmt.Sprintf("size=16 sha256digest=%x nlink=3\n", sha256.Sum256([]byte("with three names")))
	if got := bytes.Count(f.read("plain.mtree"), []byte(sum)); got != 3 {
		t.Errorf("%d entries have %q, want 3", got, sum)
	}
}
