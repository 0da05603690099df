package squashfs

import (
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// Types of inodes in squashfs_fs.h. The extended ones have wider fields; a
// directory's entry has the basic type in any case.
const (
	typeDir             = 1
	typeRegular         = 2
	typeSymlink         = 3
	typeExtendedDir     = 8
	typeExtendedRegular = 9
)

// maxIDs is what the superblock can count.
const maxIDs = math.MaxUint16

// tables collects what stands behind the contents.
type tables struct {
	inodes, dirs metadata
	ids          []byte            // the owners, 32 bits each
	idIndex      map[uint32]uint16 // where in ids
}

func newTables(encoder *zstd.Encoder) *tables {
	return &tables{inodes: metadata{encoder: encoder}, dirs: metadata{encoder: encoder}, idIndex: map[uint32]uint16{}}
}

// addDir adds a directory and all that is below it. An entry tells where its
// inode is, so inodes come before the listing, and children before parents.
func (t *tables) addDir(dir *entry, parent uint32) error {
	nlink := uint32(2)
	for _, e := range dir.children {
		if e.node.Type == fstree.Directory {
			nlink++
			if err := t.addDir(e, dir.inode.number); err != nil {
				return err
			}
		}
	}
	for _, e := range dir.children {
		if e.inode.written {
			continue
		}
		kind, body := fileInode(e)
		if err := t.addInode(e, kind, body); err != nil {
			return err
		}
	}
	kind, body, err := t.dirInode(dir, parent, nlink)
	if err != nil {
		return fmt.Errorf("store %q: %w", "/"+dir.node.Path(), err)
	}
	return t.addInode(dir, kind, body)
}

// fileInode is the part of an inode that its type makes: struct
// squashfs_reg_inode, squashfs_lreg_inode or squashfs_symlink_inode.
func fileInode(e *entry) (kind uint16, body []byte) {
	n, c := e.node, e.inode.content
	if n.Type == fstree.Symlink {
		return typeSymlink, append(appendUint32(nil, uint32(n.Nlink), uint32(len(n.Target))), n.Target...)
	}
	if n.Nlink == 1 && c.start <= math.MaxUint32 && n.Size <= math.MaxUint32 {
		body = appendUint32(nil, uint32(c.start), c.fragment, c.offset, uint32(n.Size))
		return typeRegular, appendUint32(body, c.blocks...)
	}
	for _, v := range [...]uint64{uint64(c.start), uint64(n.Size), 0 /* bytes in holes */} {
		body = le.AppendUint64(body, v)
	}
	body = appendUint32(body, uint32(n.Nlink), c.fragment, c.offset, noXattr)
	return typeExtendedRegular, appendUint32(body, c.blocks...)
}

// addInode writes an inode: struct squashfs_base_inode and body.
func (t *tables) addInode(e *entry, kind uint16, body []byte) error {
	n := e.node
	var seconds uint32
	if !n.ModTime.IsZero() {
		seconds = uint32(n.ModTime.Unix())
	}
	b := appendUint16(nil, kind, uint16(n.Mode))
	for _, owner := range [...]uint32{n.UID, n.GID} {
		id, err := t.id(owner)
		if err != nil {
			return fmt.Errorf("store %q: %w", "/"+n.Path(), err)
		}
		b = appendUint16(b, id)
	}
	b = appendUint32(b, seconds, e.inode.number)
	block, offset := t.inodes.position()
	e.inode.ref, e.inode.written = uint64(block)<<16|uint64(offset), true
	t.inodes.write(append(b, body...))
	return nil
}

// id is the index of a user or group, which share one table.
func (t *tables) id(owner uint32) (uint16, error) {
	id, ok := t.idIndex[owner]
	if !ok {
		if len(t.idIndex) == maxIDs {
			return 0, fmt.Errorf("owner %d is one more than %d different ones", owner, maxIDs)
		}
		id = uint16(len(t.idIndex))
		t.idIndex[owner] = id
		t.ids = le.AppendUint32(t.ids, owner)
	}
	return id, nil
}

func appendUint16(b []byte, values ...uint16) []byte {
	for _, v := range values {
		b = le.AppendUint16(b, v)
	}
	return b
}

func appendUint32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = le.AppendUint32(b, v)
	}
	return b
}
