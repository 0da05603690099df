package fstree

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestReadAhead(t *testing.T) {
	problem := errors.New("no more")
	for _, size := range []int{0, 1, aheadBytes - 1, aheadBytes, aheadBytes + 1, 10*aheadBytes + 7} {
		content := make([]byte, size)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		for _, end := range []error{io.EOF, problem} {
			source := io.MultiReader(bytes.NewReader(content), iotest.ErrReader(end))
			ahead := newReadAhead(iotest.HalfReader(source))
			got, err := io.ReadAll(ahead)
			if !bytes.Equal(got, content) {
				t.Errorf("%d bytes: got %d bytes, want those", size, len(got))
			}
			if end == problem && !errors.Is(err, problem) || end == io.EOF && err != nil {
				t.Errorf("%d bytes: got error %v, want %v", size, err, end)
			}
			ahead.close()
		}
	}
}

// TestReadAheadClosed is about a reader that is left before its end: afterwards
// it belongs to its owner again.
func TestReadAheadClosed(t *testing.T) {
	source := bytes.NewReader(make([]byte, 100*aheadBytes))
	ahead := newReadAhead(source)
	if _, err := io.ReadFull(ahead, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	ahead.close()
	left := source.Len()
	if left < (100-aheadChunks-1)*aheadBytes {
		t.Errorf("%d bytes are left, want more: it reads at most %d chunks ahead", left, aheadChunks)
	}
}
