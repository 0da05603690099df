package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHasher(t *testing.T) {
	var contents [][]byte
	for _, size := range []int{0, 1, copyBlock - 1, copyBlock, copyBlock + 1, 3 * copyBlocks * copyBlock, 0} {
		contents = append(contents, bytes.Repeat([]byte{byte(size), 1, 2}, size/3+1)[:size])
	}
	for i := range 3 * blockPieces {
		contents = append(contents, bytes.Repeat([]byte{byte(i)}, i%3))
	}
	var out bytes.Buffer
	h := newHasher()
	sums := make([]*digest, len(contents))
	for i, content := range contents {
		if i%5 != 3 {
			sums[i] = new(digest)
		}
		if err := h.copy(&out, io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))), sums[i]); err != nil {
			t.Fatal(err)
		}
	}
	h.finish()
	if !bytes.Equal(out.Bytes(), bytes.Join(contents, nil)) {
		t.Error("copy differs")
	}
	for i, sum := range sums {
		if sum != nil && *sum != sha256.Sum256(contents[i]) {
			t.Errorf("digest of content %d, of %d bytes, is %x", i, len(contents[i]), *sum)
		}
	}
}

// full is a writer without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestHasherFails(t *testing.T) {
	h := newHasher()
	defer h.finish()
	content := bytes.NewReader(make([]byte, 3*copyBlock))
	if err := h.copy(full{}, io.NewSectionReader(content, 0, content.Size()), new(digest)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v, want %v", err, syscall.ENOSPC)
	}
	if err := h.copy(io.Discard, io.NewSectionReader(content, 0, content.Size()+1), new(digest)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// TestLayerFormats is about the same layer, read in place and through a spool.
func TestLayerFormats(t *testing.T) {
	f := newFixture(t)
	entries := []entry{dir("d"), file("d/z", 0o644, "with three names"), hard("b", "d/z"), hard("z", "d/z"),
		file("a", 0o644, "old"), file("a", 0o644, ""), file("large", 0o755, string(make([]byte, 3*copyBlock)))}
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
