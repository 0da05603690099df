// Package squashfs writes file trees as squashfs 4.0 images, which Linux mounts
// read-only.
//
// Sources: Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h
// of the kernel for the format; super.c, inode.c, dir.c, namei.c, file.c and
// id.c beside the latter for what a mount checks and what a lookup relies on.
//
// An image holds directories, regular files and symbolic links, with hard links
// of the last two. There is no reader here, and there are no devices, extended
// attributes, sparse blocks or tables for NFS.
package squashfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// Values of squashfs_fs.h.
const (
	magic           = 0x73717368
	zstdCompression = 6
	flagTailEnds    = 1 << 5 // ends of files longer than a block are in fragments too
	flagDuplicates  = 1 << 6 // equal files are stored once
	noFragment      = math.MaxUint32
	noXattr         = math.MaxUint32
	noTable         = math.MaxUint64
	superblockSize  = 96
	metadataSize    = 8192
)

const (
	// blockSize is the most that is compressed in one piece, and what the guest
	// decompresses to read one small file. For the headers of Linux 6.1, 1 MiB
	// would make an image 8 % smaller and scattered reads five times as long.
	blockSize = 128 << 10
	// imageAlign is the size of the largest device block. The kernel reads an
	// image in device blocks, and a loop device cuts off what is less.
	imageAlign = 4096
	// maxWorkers bounds the memory: a compressor has tables of 34 MiB.
	maxWorkers = 4
)

var le = binary.LittleEndian

// Write writes the tree to w from offset 0 on as an image whose length is a
// multiple of 4096 bytes. The superblock comes last, so that what is left of a
// failed Write does not mount.
//
// The image is a function of the tree alone. Modes, owners and times are those
// of the tree; times lose their fraction of a second, and the zero time.Time
// becomes 1970. What the format or the package cannot hold is an error that
// names the path: other types of files, extended attributes, times outside
// 1970 to 2106, names of more than 255 bytes, link targets of more than 4095,
// more than 65535 different owners.
func Write(w io.WriterAt, tree *fstree.Tree) error {
	if err := write(w, tree); err != nil {
		return fmt.Errorf("write squashfs: %w", err)
	}
	return nil
}

func write(w io.WriterAt, tree *fstree.Tree) error {
	root, inodes, err := entries(tree)
	if err != nil {
		return err
	}
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(workers),
		// The kernel has memory for a window of one block.
		zstd.WithWindowSize(blockSize),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return fmt.Errorf("make compressor: %w", err)
	}
	out := &output{
		Writer: bufio.NewWriterSize(io.NewOffsetWriter(w, superblockSize), 256<<10),
		offset: superblockSize, encoder: encoder,
	}
	fragments, err := writeContents(out, tree, root, workers)
	if err != nil {
		return err
	}
	t := newTables(encoder)
	if err := t.addDir(root, root.inode.number); err != nil {
		return err
	}
	return t.write(w, out, superblock{
		Inodes: inodes, RootInode: root.inode.ref, Fragments: uint32(len(fragments) / fragmentEntrySize),
	}, fragments)
}

// superblock is struct squashfs_super_block.
type superblock struct {
	Magic, Inodes, MkfsTime, BlockSize, Fragments   uint32
	Compression, BlockLog, Flags, IDs, Major, Minor uint16
	RootInode, BytesUsed                            uint64
	IDTable, XattrTable, InodeTable, DirTable       uint64
	FragmentTable, ExportTable                      uint64
}

// write writes what follows the contents, then the superblock. A mount finds
// each table's end from the start of the next one, so the order matters.
func (t *tables) write(w io.WriterAt, out *output, super superblock, fragments []byte) error {
	super.Magic, super.Major = magic, 4
	super.BlockSize, super.BlockLog = blockSize, uint16(bits.TrailingZeros(blockSize))
	super.Compression, super.Flags = zstdCompression, flagTailEnds|flagDuplicates
	super.IDs = uint16(len(t.ids) / 4)
	super.XattrTable, super.ExportTable, super.FragmentTable = noTable, noTable, noTable

	var err error
	if super.InodeTable, err = out.metadata("inode table", &t.inodes); err != nil {
		return err
	}
	if super.DirTable, err = out.metadata("directory table", &t.dirs); err != nil {
		return err
	}
	if len(fragments) > 0 {
		if super.FragmentTable, err = out.lookupTable(fragments); err != nil {
			return err
		}
	}
	if super.IDTable, err = out.lookupTable(t.ids); err != nil {
		return err
	}
	super.BytesUsed = uint64(out.offset)
	if _, err := out.Write(make([]byte, -out.offset&(imageAlign-1))); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	block, err := binary.Append(nil, le, &super)
	if err != nil {
		return fmt.Errorf("encode superblock: %w", err)
	}
	_, err = w.WriteAt(block, 0)
	return err
}

// entry is a name with what is below it.
type entry struct {
	node     *fstree.Node
	inode    *inode
	children []*entry // of a directory, in the order of their names' bytes
}

// inode is shared by the names of a file.
type inode struct {
	number  uint32
	content *content // of a regular file
	written bool     // ref is valid
	ref     uint64   // compressed block's start in the inode table << 16 | offset when uncompressed
}

// entries turns a tree into entries and counts its inodes.
func entries(tree *fstree.Tree) (root *entry, inodes uint32, err error) {
	// All of an unusable tree has no nodes, without a word.
	rootNode, err := tree.Lstat("/")
	if err != nil {
		return nil, 0, err
	}
	known := map[*fstree.Inode]*inode{}
	add := func(n *fstree.Node) (*entry, error) {
		if err := check(n); err != nil {
			return nil, fmt.Errorf("store %q: %w", "/"+n.Path(), err)
		}
		i, ok := known[n.Inode]
		if !ok {
			i = &inode{number: uint32(len(known) + 1)}
			known[n.Inode] = i
		}
		return &entry{node: n, inode: i}, nil
	}
	if root, err = add(rootNode); err != nil {
		return nil, 0, err
	}
	dirs := map[string]*entry{"": root}
	for path, n := range tree.All() {
		e, err := add(n)
		if err != nil {
			return nil, 0, err
		}
		parent := dirs[path[:max(0, len(path)-len(n.Name())-1)]]
		parent.children = append(parent.children, e)
		if n.Type == fstree.Directory {
			dirs[path] = e
		}
	}
	return root, uint32(len(known)), nil
}

// check finds what cannot be stored.
func check(n *fstree.Node) error {
	// NAME_MAX, and PATH_MAX without its NUL. The format has room for a name of
	// 256 bytes, which no system call takes.
	const nameMax, targetMax = 255, 4095
	switch {
	case n.Type != fstree.Directory && n.Type != fstree.Regular && n.Type != fstree.Symlink:
		return fmt.Errorf("type %v is not supported", n.Type)
	case len(n.Xattrs) > 0:
		return errors.New("extended attributes are not supported")
	case len(n.Name()) > nameMax:
		return fmt.Errorf("name has %d bytes, more than %d", len(n.Name()), nameMax)
	case len(n.Target) > targetMax:
		return fmt.Errorf("link target has %d bytes, more than %d", len(n.Target), targetMax)
	case !n.ModTime.IsZero() && (n.ModTime.Unix() < 0 || n.ModTime.Unix() > math.MaxUint32):
		return fmt.Errorf("time %v is out of range", n.ModTime)
	}
	return nil
}
