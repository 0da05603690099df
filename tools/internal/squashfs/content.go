package squashfs

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/internal/fstree"
)

const (
	// storedBlock marks the size of a data block that is not compressed,
	// SQUASHFS_COMPRESSED_BIT_BLOCK.
	storedBlock       = 1 << 24
	fragmentEntrySize = 16 // struct squashfs_fragment_entry
)

// content is where the content of a file is: full blocks one behind the other,
// and the rest inside a block that files share, a fragment.
type content struct {
	start    int64    // of the first block
	blocks   []uint32 // lengths, see storedBlock
	fragment uint32   // index, or noFragment
	offset   uint32   // in the uncompressed fragment
}

// contentWriter writes blocks in the order of add, compressed in parallel.
type contentWriter struct {
	out       *output
	tree      *fstree.Tree
	workers   int
	queue     []*block
	known     map[[sha256.Size]byte]*content
	fragment  []byte // the one that is being filled
	fragments []byte // table
}

// block is a block on its way into the image.
type block struct {
	raw    []byte
	packed chan []byte
	placed func(start int64, size uint32)
}

// writeContents writes the content of all files below root and returns the
// fragment table, uncompressed. Files stand in the order of their paths: what
// is used together is together, and what looks alike mostly is: no other order
// tried makes the headers of Linux more than 1 % smaller.
func writeContents(out *output, tree *fstree.Tree, root *entry, workers int) (fragments []byte, err error) {
	w := &contentWriter{out: out, tree: tree, workers: workers, known: map[[sha256.Size]byte]*content{}}
	if err := w.addDir(root); err != nil {
		return nil, err
	}
	if err := w.endFragment(); err != nil {
		return nil, err
	}
	for len(w.queue) > 0 {
		if err := w.place(); err != nil {
			return nil, err
		}
	}
	return w.fragments, nil
}

func (w *contentWriter) addDir(dir *entry) error {
	for _, e := range dir.children {
		switch {
		case e.node.Type == fstree.Directory:
			if err := w.addDir(e); err != nil {
				return err
			}
		case e.node.Type == fstree.Regular && e.inode.content == nil:
			var err error
			if e.inode.content, err = w.addFile(e.node); err != nil {
				return fmt.Errorf("store %q: %w", "/"+e.node.Path(), err)
			}
		}
	}
	return nil
}

func (w *contentWriter) addFile(n *fstree.Node) (*content, error) {
	hash := sha256.New()
	if size, err := io.Copy(hash, w.tree.Open(n)); err != nil {
		return nil, fmt.Errorf("read content: %w", err)
	} else if size != n.Size {
		return nil, fmt.Errorf("read content: %w: %d of %d bytes", io.ErrUnexpectedEOF, size, n.Size)
	}
	digest := [sha256.Size]byte(hash.Sum(nil))
	if c, ok := w.known[digest]; ok {
		return c, nil
	}
	c := &content{fragment: noFragment}
	w.known[digest] = c
	r := w.tree.Open(n)
	for range n.Size / blockSize {
		raw := make([]byte, blockSize)
		if _, err := io.ReadFull(r, raw); err != nil {
			return nil, fmt.Errorf("read content: %w", err)
		}
		i := len(c.blocks)
		c.blocks = append(c.blocks, 0)
		err := w.add(raw, func(start int64, size uint32) {
			if i == 0 {
				c.start = start
			}
			c.blocks[i] = size
		})
		if err != nil {
			return nil, err
		}
	}
	rest := int(n.Size % blockSize)
	if rest == 0 {
		return c, nil
	}
	if len(w.fragment)+rest > blockSize {
		if err := w.endFragment(); err != nil {
			return nil, err
		}
	}
	if w.fragment == nil {
		w.fragment = make([]byte, 0, blockSize)
	}
	c.fragment, c.offset = uint32(len(w.fragments)/fragmentEntrySize), uint32(len(w.fragment))
	w.fragment = w.fragment[:len(w.fragment)+rest]
	if _, err := io.ReadFull(r, w.fragment[c.offset:]); err != nil {
		return nil, fmt.Errorf("read content: %w", err)
	}
	return c, nil
}

// endFragment adds the fragment block if there is anything in it.
func (w *contentWriter) endFragment() error {
	if len(w.fragment) == 0 {
		return nil
	}
	at := len(w.fragments)
	w.fragments = append(w.fragments, make([]byte, fragmentEntrySize)...)
	raw := w.fragment
	w.fragment = nil
	return w.add(raw, func(start int64, size uint32) {
		le.PutUint64(w.fragments[at:], uint64(start))
		le.PutUint32(w.fragments[at+8:], size)
	})
}

// add starts to compress a block. Its place is known when the queue is empty.
func (w *contentWriter) add(raw []byte, placed func(start int64, size uint32)) error {
	if len(w.queue) == w.workers {
		if err := w.place(); err != nil {
			return err
		}
	}
	b := &block{raw: raw, packed: make(chan []byte, 1), placed: placed}
	w.queue = append(w.queue, b)
	go func() { b.packed <- w.out.encoder.EncodeAll(b.raw, nil) }()
	return nil
}

// place writes the first block of the queue.
func (w *contentWriter) place() error {
	b := w.queue[0]
	w.queue = w.queue[1:]
	data := <-b.packed
	size := uint32(len(data))
	if len(data) >= len(b.raw) {
		data, size = b.raw, uint32(len(b.raw))|storedBlock
	}
	b.placed(w.out.offset, size)
	_, err := w.out.Write(data)
	return err
}
