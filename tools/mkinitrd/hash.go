package main

import (
	"crypto/sha256"
	"fmt"
	"io"
)

type digest [sha256.Size]byte

const (
	copyBlock = 256 << 10 // bytes
	// copyBlocks is how far copying is ahead of hashing, which takes longer for
	// large files and less for small ones.
	copyBlocks = 8
	// blockPieces bounds a block of empty files.
	blockPieces = 1 << 10
)

// hasher copies contents, and hashes them from the same memory in a goroutine, so
// that the two share two processors. What is handed over is a block, not a file:
// waking the other side for each of many small files costs as much as hashing them.
type hasher struct {
	free, full chan *block
	done       chan struct{}
	current    *block
}

// block is what was read of one content or of several.
type block struct {
	memory []byte // of copyBlock bytes
	room   []byte // what of it is free
	pieces []piece
}

// piece is a part of a content. The last one has where the digest goes.
type piece struct {
	data []byte
	sum  *digest
}

func newHasher() *hasher {
	h := &hasher{free: make(chan *block, copyBlocks), full: make(chan *block, copyBlocks), done: make(chan struct{})}
	for range copyBlocks {
		h.free <- nil // blocks are made when they are needed
	}
	go h.run()
	return h
}

func (h *hasher) run() {
	defer close(h.done)
	hash := sha256.New()
	for b := range h.full {
		for _, piece := range b.pieces {
			hash.Write(piece.data) // never returns an error
			if piece.sum != nil {
				hash.Sum(piece.sum[:0])
				hash.Reset()
			}
		}
		h.free <- b
	}
}

// copy writes content to w. Its digest is in sum after finish; nil wants none.
func (h *hasher) copy(w io.Writer, content *io.SectionReader, sum *digest) error {
	for left := content.Size(); ; {
		b := h.block()
		data := b.room[:min(left, int64(len(b.room)))]
		if _, err := io.ReadFull(content, data); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content: %w", err)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		left -= int64(len(data))
		if sum != nil {
			b.add(data, left, sum)
		}
		if left == 0 {
			return nil
		}
	}
}

// add keeps data, of whose content so many bytes are still to come, for the digest.
func (b *block) add(data []byte, left int64, sum *digest) {
	b.room = b.room[len(data):]
	if left > 0 {
		sum = nil
	}
	b.pieces = append(b.pieces, piece{data, sum})
}

// block gives a block with room.
func (h *hasher) block() *block {
	if h.current != nil && len(h.current.room) > 0 && len(h.current.pieces) < blockPieces {
		return h.current
	}
	h.pass()
	h.current = <-h.free
	if h.current == nil {
		h.current = &block{memory: make([]byte, copyBlock)}
	}
	h.current.room, h.current.pieces = h.current.memory, h.current.pieces[:0]
	return h.current
}

// pass hands the current block over.
func (h *hasher) pass() {
	if h.current != nil {
		h.full <- h.current // has room for every block
		h.current = nil
	}
}

// finish waits for all digests. Nothing is to be copied after it.
func (h *hasher) finish() {
	h.pass()
	close(h.full)
	<-h.done
}
