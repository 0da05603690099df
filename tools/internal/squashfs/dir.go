package squashfs

import (
	"fmt"
	"math"

	"github.com/kindling-vm/kindling/internal/fstree"
)

const (
	dirHeaderSize = 12 // struct squashfs_dir_header
	dirEntrySize  = 8  // struct squashfs_dir_entry without the name
	// dirHeaderEntries is how many entries can follow a header,
	// SQUASHFS_DIR_COUNT.
	dirHeaderEntries = 256
	// impliedSize is what the kernel takes off the size of a directory for "."
	// and "..", which are not stored.
	impliedSize = 3
)

// dirInode writes the listing of a directory and returns what its type makes
// of the inode: struct squashfs_dir_inode, or squashfs_ldir_inode with an index
// when the listing is longer than a metadata block.
func (t *tables) dirInode(dir *entry, parent, nlink uint32) (kind uint16, body []byte, err error) {
	block, offset := t.dirs.position()
	var index []byte
	size, indexed, indexEntries := 0, 0, 0
	for rest := dir.children; len(rest) > 0; {
		if at := (offset + size) / metadataSize; at > indexed {
			start, _ := t.dirs.position()
			name := rest[0].node.Name()
			index = append(appendUint32(index, uint32(size), uint32(start), uint32(len(name)-1)), name...)
			indexed, indexEntries = at, indexEntries+1
		}
		run := rest[:runLength(rest, offset+size)]
		rest = rest[len(run):]
		b := appendRun(nil, run)
		t.dirs.write(b)
		size += len(b)
	}
	if indexEntries > math.MaxUint16 {
		return 0, nil, fmt.Errorf("directory has %d bytes of names, more than %d", size, math.MaxUint16*metadataSize)
	}
	if size <= metadataSize {
		body = appendUint32(nil, uint32(block), nlink)
		body = appendUint16(body, uint16(size+impliedSize), uint16(offset))
		return typeDir, appendUint32(body, parent), nil
	}
	body = appendUint32(nil, nlink, uint32(size+impliedSize), uint32(block), parent)
	body = appendUint16(body, uint16(indexEntries), uint16(offset))
	return typeExtendedDir, append(appendUint32(body, noXattr), index...), nil
}

// runLength is how many of the entries can share one header at the offset at:
// their inodes start in one metadata block, their numbers are near the first
// one, and they start in the metadata block of the header, so that the index
// has a header to point to in each block.
func runLength(entries []*entry, at int) int {
	first := entries[0].inode
	end := at + dirHeaderSize
	for i, e := range entries {
		distance := int64(e.inode.number) - int64(first.number)
		if i == dirHeaderEntries || e.inode.ref>>16 != first.ref>>16 ||
			distance != int64(int16(distance)) || i > 0 && end/metadataSize > at/metadataSize {
			return i
		}
		end += dirEntrySize + len(e.node.Name())
	}
	return len(entries)
}

// appendRun appends a header and its entries.
func appendRun(b []byte, run []*entry) []byte {
	first := run[0].inode
	b = appendUint32(b, uint32(len(run)-1), uint32(first.ref>>16), first.number)
	for _, e := range run {
		kind := uint16(typeRegular)
		switch e.node.Type {
		case fstree.Directory:
			kind = typeDir
		case fstree.Symlink:
			kind = typeSymlink
		}
		name := e.node.Name()
		b = appendUint16(b, uint16(e.inode.ref), uint16(e.inode.number-first.number), kind, uint16(len(name)-1))
		b = append(b, name...)
	}
	return b
}
