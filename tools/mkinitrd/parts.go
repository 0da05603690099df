package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

type digest [sha256.Size]byte

const (
	// partSize is how many bytes a part has at least, but for the last one: many
	// small files for each time that a processor takes one.
	partSize = 256 << 10
	// blockSize is how many bytes of a content are read at once. They stay in a
	// processor's own cache until they are hashed and written.
	blockSize = 256 << 10
	// gatherSize is in bytes. It gathers headers and small contents; larger
	// writes pass it by.
	gatherSize = 32 << 10
	// maxWriters bounds memory. What writes more at once waits for the disk.
	maxWriters = 8
)

// part is a run of entries and where in the archive they stand, in bytes.
type part struct {
	members      []member
	offset, size int64
	isLast       bool
}

// split gives the parts of the archive, which is their concatenation.
func (a *archive) split() []part {
	var parts []part
	current := part{}
	first := 0
	for i, e := range a.members {
		current.size += newc.EntrySize(e.Header)
		if current.size >= partSize {
			current.members = a.members[first : i+1]
			parts = append(parts, current)
			current, first = part{offset: current.offset + current.size}, i+1
		}
	}
	current.members, current.isLast = a.members[first:], true
	current.size += newc.EndSize()
	return append(parts, current)
}

// write writes the archive. Every processor takes one part after the other and
// reads, hashes and writes its blocks. The largest parts come first, so that all
// processors are busy to the end.
func (a *archive) write(w io.WriterAt, parts []part) error {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.size, a.size) })
	group, ctx := errgroup.WithContext(context.Background())
	var taken atomic.Int64
	for range min(runtime.GOMAXPROCS(0), maxWriters, len(parts)) {
		group.Go(func() error {
			writer := newPartWriter(a.tree)
			for ctx.Err() == nil {
				i := int(taken.Add(1)) - 1
				if i >= len(parts) {
					break
				}
				if err := writer.write(w, &parts[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// partWriter writes one part after the other.
type partWriter struct {
	tree   *fstree.Tree
	gather *bufio.Writer
	hash   hash.Hash
	block  []byte
}

func newPartWriter(tree *fstree.Tree) *partWriter {
	return &partWriter{tree, bufio.NewWriterSize(nil, gatherSize), sha256.New(), make([]byte, blockSize)}
}

func (w *partWriter) write(archive io.WriterAt, p *part) error {
	at := io.NewOffsetWriter(archive, p.offset)
	w.gather.Reset(at)
	out := newc.NewWriter(w.gather)
	for i := range p.members {
		e := &p.members[i]
		if err := w.writeEntry(out, e); err != nil {
			return fmt.Errorf("archive /%s: %w", e.Name, err)
		}
	}
	end := out.Flush
	if p.isLast {
		end = out.Close
	}
	if err := end(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := w.gather.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	size, err := at.Seek(0, io.SeekCurrent)
	if err == nil && size != p.size {
		err = fmt.Errorf("part at %d has %d bytes, want %d", p.offset, size, p.size)
	}
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

func (w *partWriter) writeEntry(out *newc.Writer, e *member) error {
	if err := out.WriteHeader(e.Header); err != nil {
		return err
	}
	switch {
	case e.node.Type == fstree.Symlink:
		_, err := io.WriteString(out, e.node.Target)
		return err
	case e.hasContent:
		return w.copy(out, w.tree.Open(e.node), e.digest)
	}
	return nil
}

// copy writes a content and puts its digest into sum; nil wants none.
func (w *partWriter) copy(out io.Writer, content *io.SectionReader, sum *digest) error {
	w.hash.Reset()
	for left := content.Size(); left > 0; {
		data := w.block[:min(left, blockSize)]
		if _, err := io.ReadFull(content, data); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content: %w", err)
		}
		if sum != nil {
			w.hash.Write(data) // never returns an error
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
		left -= int64(len(data))
	}
	if sum != nil {
		w.hash.Sum(sum[:0])
	}
	return nil
}
