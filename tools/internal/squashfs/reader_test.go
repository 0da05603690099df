package squashfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// reader reads an image the way the kernel does: readInode as
// squashfs_read_inode, lookup as squashfs_lookup with the index, and so on.
type reader struct {
	t       testing.TB
	image   []byte
	super   superblock
	decoder *zstd.Decoder
	cache   map[int][]byte // metadata blocks
}

// diskInode is an inode of any type.
type diskInode struct {
	kind, mode, uid, gid uint16
	mtime, number        uint32
	nlink                uint32
	size                 int
	// Of a file.
	start            uint64
	fragment, offset uint32
	blocks           []uint32
	target           string
	// Of a directory; dirBlock and dirOffset are its place in the table.
	dirBlock, dirOffset, parent int
	index                       []dirIndex
}

type dirIndex struct {
	at, block int
	name      string
}

type dirEntry struct {
	name         string
	kind, offset uint16
	block        uint32
	number       uint32
}

func newReader(t testing.TB, image []byte) *reader {
	t.Helper()
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(blockSize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(decoder.Close)
	r := &reader{t: t, image: image, decoder: decoder, cache: map[int][]byte{}}
	if err := binary.Read(bytes.NewReader(image), le, &r.super); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reader) decompress(data []byte, stored bool, limit int) []byte {
	r.t.Helper()
	if stored {
		return data
	}
	raw, err := r.decoder.DecodeAll(data, nil)
	if err != nil || len(raw) > limit || len(raw) <= len(data) {
		r.t.Fatalf("block of %d bytes: %d bytes uncompressed, error %v", len(data), len(raw), err)
	}
	return raw
}

// cursor is a place in metadata, such as start_block and offset of the kernel.
type cursor struct {
	r             *reader
	block, offset int
}

func (c *cursor) read(n int) []byte {
	c.r.t.Helper()
	var out []byte
	for len(out) < n {
		header := le.Uint16(c.r.image[c.block:])
		size := int(header &^ storedMetadata)
		raw, ok := c.r.cache[c.block]
		if !ok {
			raw = c.r.decompress(c.r.image[c.block+2:c.block+2+size], header&storedMetadata != 0, metadataSize)
			c.r.cache[c.block] = raw
		}
		if c.offset >= len(raw) {
			c.r.t.Fatalf("offset %d in metadata block of %d bytes at %#x", c.offset, len(raw), c.block)
		}
		take := min(n-len(out), len(raw)-c.offset)
		out = append(out, raw[c.offset:c.offset+take]...)
		if c.offset += take; c.offset == metadataSize {
			c.block, c.offset = c.block+2+size, 0
		}
	}
	return out
}

func (c *cursor) u16() uint16 { return le.Uint16(c.read(2)) }
func (c *cursor) u32() uint32 { return le.Uint32(c.read(4)) }
func (c *cursor) u64() uint64 { return le.Uint64(c.read(8)) }

func (r *reader) readInode(ref uint64) *diskInode {
	r.t.Helper()
	c := &cursor{r, int(r.super.InodeTable + ref>>16), int(ref & 0xffff)}
	i := &diskInode{kind: c.u16(), mode: c.u16(), uid: c.u16(), gid: c.u16(), mtime: c.u32(), number: c.u32(), nlink: 1}
	switch i.kind {
	case typeRegular:
		i.start, i.fragment, i.offset, i.size = uint64(c.u32()), c.u32(), c.u32(), int(c.u32())
	case typeExtendedRegular:
		i.start, i.size = c.u64(), int(c.u64())
		if sparse := c.u64(); sparse != 0 {
			r.t.Errorf("%d bytes in holes", sparse)
		}
		i.nlink, i.fragment, i.offset = c.u32(), c.u32(), c.u32()
	case typeSymlink:
		i.nlink, i.size = c.u32(), int(c.u32())
		i.target = string(c.read(i.size))
		return i
	case typeDir:
		i.dirBlock, i.nlink, i.size, i.dirOffset, i.parent = int(c.u32()), c.u32(), int(c.u16()), int(c.u16()), int(c.u32())
		return i
	case typeExtendedDir:
		i.nlink, i.size, i.dirBlock, i.parent = c.u32(), int(c.u32()), int(c.u32()), int(c.u32())
		i.index = make([]dirIndex, c.u16())
		i.dirOffset = int(c.u16())
	default:
		r.t.Fatalf("inode of type %d", i.kind)
	}
	if i.kind >= typeExtendedDir {
		if xattr := c.u32(); xattr != noXattr {
			r.t.Errorf("xattr = %d", xattr)
		}
	}
	for n := range i.index {
		i.index[n] = dirIndex{at: int(c.u32()), block: int(c.u32())}
		i.index[n].name = string(c.read(int(c.u32()) + 1))
	}
	if i.kind == typeRegular || i.kind == typeExtendedRegular {
		blocks := i.size / blockSize
		if i.fragment == noFragment {
			blocks = (i.size + blockSize - 1) / blockSize
		}
		for range blocks {
			i.blocks = append(i.blocks, c.u32())
		}
	}
	return i
}

// lookup finds a name through the index, or returns nil.
func (r *reader) lookup(dir *diskInode, name string) *dirEntry {
	r.t.Helper()
	block, length := dir.dirBlock, 0
	for _, index := range dir.index {
		if index.name > name {
			break
		}
		block, length = index.block, index.at
	}
	for _, e := range r.list(dir, block, length, func(e *dirEntry) bool { return e.name < name }) {
		if e.name == name {
			return e
		}
	}
	return nil
}

// list reads a listing from a header on, as long as more is true.
func (r *reader) list(dir *diskInode, block, length int, more func(*dirEntry) bool) []*dirEntry {
	r.t.Helper()
	c := &cursor{r, int(r.super.DirTable) + block, (dir.dirOffset + length) % metadataSize}
	var entries []*dirEntry
	for length += impliedSize; length < dir.size; {
		count, start, number := int(c.u32()+1), c.u32(), c.u32()
		length += dirHeaderSize
		if count > dirHeaderEntries {
			r.t.Fatalf("header of %d entries", count)
		}
		for range count {
			e := &dirEntry{block: start, offset: c.u16()}
			e.number = number + uint32(int16(c.u16()))
			e.kind = c.u16()
			e.name = string(c.read(int(c.u16()) + 1))
			length += dirEntrySize + len(e.name)
			entries = append(entries, e)
			if !more(e) {
				return entries
			}
		}
	}
	if length != dir.size {
		r.t.Errorf("listing ends at %d of %d", length, dir.size)
	}
	return entries
}

// content reads a file.
func (r *reader) content(i *diskInode) []byte {
	r.t.Helper()
	var out []byte
	at := i.start
	data := func(size uint32) []byte {
		stored, n := size&storedBlock != 0, uint64(size&^storedBlock)
		at += n
		return r.decompress(r.image[at-n:at], stored, blockSize)
	}
	for _, size := range i.blocks {
		out = append(out, data(size)...)
	}
	if i.fragment != noFragment {
		if i.fragment >= r.super.Fragments {
			r.t.Fatalf("fragment %d of %d", i.fragment, r.super.Fragments)
		}
		entry := r.record(r.super.FragmentTable, int(i.fragment), fragmentEntrySize)
		at = le.Uint64(entry)
		out = append(out, data(le.Uint32(entry[8:]))[i.offset:][:i.size%blockSize]...)
	}
	return out
}

// record reads a record of a lookup table.
func (r *reader) record(table uint64, n, size int) []byte {
	start := le.Uint64(r.image[table+uint64(n*size/metadataSize*8):])
	return (&cursor{r, int(start), n * size % metadataSize}).read(size)
}

func (r *reader) id(n uint16) uint32 { return le.Uint32(r.record(r.super.IDTable, int(n), 4)) }

// describe is describeTree of the image.
func (r *reader) describe() []string {
	r.t.Helper()
	inodes := map[string]*diskInode{}
	var walk func(path string, dir *diskInode)
	walk = func(path string, dir *diskInode) {
		inodes[path] = dir
		subdirs, last := uint32(0), ""
		for _, e := range r.list(dir, dir.dirBlock, 0, func(*dirEntry) bool { return true }) {
			i := r.readInode(uint64(e.block)<<16 | uint64(e.offset))
			if e.name <= last {
				r.t.Errorf("%.20q comes after %.20q", e.name, last)
			}
			if i.number != e.number || basicTypes[i.kind] != e.kind {
				r.t.Errorf("entry %+v is of inode %+v", e, i)
			}
			last = e.name
			name := e.name
			if path != "" {
				name = path + "/" + name
			}
			if e.kind != typeDir {
				inodes[name] = i
				continue
			}
			if subdirs++; i.parent != int(dir.number) {
				r.t.Errorf("%.50q has parent %d, want %d", name, i.parent, dir.number)
			}
			walk(name, i)
		}
		if dir.nlink != subdirs+2 {
			r.t.Errorf("%.50q has %d links, want %d", path, dir.nlink, subdirs+2)
		}
	}
	walk("", r.readInode(r.super.RootInode))
	var lines []string
	first := map[uint32]string{}
	for _, path := range slices.Sorted(maps.Keys(inodes)) {
		i := inodes[path]
		kind, nlink, size, what := "dir", int(i.nlink), i.size, ""
		switch basicTypes[i.kind] {
		case typeDir:
			nlink, size = 0, 0
		case typeSymlink:
			kind, what = "link", i.target
		case typeRegular:
			kind, what = "file", fmt.Sprintf("%x", sha256.Sum256(r.content(i)))
		}
		if name, ok := first[i.number]; ok {
			what = "= /" + name
		} else {
			first[i.number] = path
		}
		lines = append(lines, describe(path, kind, uint32(i.mode), r.id(i.uid), r.id(i.gid), i.mtime, nlink, size, what))
	}
	if len(first) != int(r.super.Inodes) {
		r.t.Errorf("%d inodes, superblock has %d", len(first), r.super.Inodes)
	}
	return lines
}

var basicTypes = map[uint16]uint16{
	typeDir: typeDir, typeRegular: typeRegular, typeSymlink: typeSymlink,
	typeExtendedDir: typeDir, typeExtendedRegular: typeRegular,
}
