package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// archive is what of a tree goes into an archive and its listing, so that the two
// cannot disagree: a content is read once, for both.
type archive struct {
	tree     *fstree.Tree
	binaries map[*fstree.Node]bool
	links    map[*fstree.Inode]*hardLink
	members  []member
}

// member is an entry of both.
type member struct {
	newc.Header
	node       *fstree.Node
	hasContent bool    // in the archive; of several hard links one has it
	digest     *digest // in the listing, known when the archive is written; nil is none
}

// hardLink is what is known of a file with several names.
type hardLink struct {
	inode  uint32
	left   int // names still to come
	digest *digest
}

// newArchive is what the tree has above its lower nodes.
func newArchive(tree *fstree.Tree, lower, binaries map[*fstree.Node]bool) (*archive, error) {
	a := &archive{tree: tree, binaries: binaries, links: map[*fstree.Inode]*hardLink{}}
	// The lowest archive says what the root is: the kernel's own is a tmpfs with
	// mode 1777.
	if !lower[tree.Root()] {
		if err := a.add(".", tree.Root()); err != nil {
			return nil, err
		}
	}
	for name, n := range tree.All() {
		if lower[n] {
			continue
		}
		if err := a.add(name, n); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *archive) add(name string, n *fstree.Node) error {
	if len(n.Xattrs) > 0 {
		return fmt.Errorf("archive /%s: extended attributes do not fit into a cpio archive", name)
	}
	header := newc.Header{Name: name, Mode: n.Mode, UID: n.UID, GID: n.GID, Inode: uint32(len(a.members)) + 1, Nlink: 1}
	e := member{Header: header, node: n}
	switch n.Type {
	case fstree.Directory:
		e.Mode |= newc.TypeDir
		e.Nlink = uint32(2 + n.Directories())
	case fstree.Symlink:
		// Hard links of symbolic links become links of their own: the kernel
		// makes no others (init/initramfs.c, do_symlink).
		e.Mode |= newc.TypeSymlink
		e.Size = int64(len(n.Target))
	case fstree.Regular:
		e.Mode |= newc.TypeRegular
		if !a.binaries[n] {
			e.digest = new(digest)
		}
		a.link(&e)
		if e.hasContent {
			e.Size = n.Size
		}
	default:
		return fmt.Errorf("archive /%s: it is of type %v; the guest's devtmpfs provides device nodes", name, n.Type)
	}
	a.members = append(a.members, e)
	return nil
}

// link gives the names of one file the same inode number, that of the first
// one, and the same digest. The last one carries the content.
func (a *archive) link(e *member) {
	if e.node.Nlink == 1 {
		e.hasContent = true
		return
	}
	known := a.links[e.node.Inode]
	if known == nil {
		known = &hardLink{inode: e.Inode, left: e.node.Nlink, digest: e.digest}
		a.links[e.node.Inode] = known
	}
	known.left--
	e.Inode, e.Nlink, e.digest = known.inode, uint32(e.node.Nlink), known.digest
	e.hasContent = known.left == 0
}

// writeListing writes the listing of an archive that is written.
func (a *archive) writeListing(w io.Writer) error {
	listing := mtree.NewWriter(w)
	for _, e := range a.members {
		n := e.node
		listed := mtree.Entry{Path: e.Name, Type: n.Type.String(), Mode: n.Mode, UID: n.UID, GID: n.GID, Target: n.Target}
		if n.Type == fstree.Regular {
			listed.Nlink = uint32(n.Nlink)
		}
		if e.digest != nil {
			listed.Size, listed.SHA256 = n.Size, hex.EncodeToString(e.digest[:])
		}
		if err := listing.Write(&listed); err != nil {
			return fmt.Errorf("write listing: %w", err)
		}
	}
	return nil
}
