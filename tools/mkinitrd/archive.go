package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// archiver writes the entries of a tree to an archive and to its listing, so
// that the two cannot disagree: contents pass once, for both.
type archiver struct {
	tree     *fstree.Tree
	archive  *newc.Writer
	binaries map[*fstree.Node]bool
	links    map[*fstree.Inode]*hardLink
	hasher   *hasher
	listed   []listed
}

// listed is an entry of the listing, which is complete when the hasher is done.
type listed struct {
	mtree.Entry
	digest *digest // nil is none
}

// hardLink is what is known of a file with several names.
type hardLink struct {
	inode  uint32
	left   int // names still to come
	digest *digest
}

// writeArchive writes what the tree has above its lower nodes.
func writeArchive(w, listing io.Writer, tree *fstree.Tree, lower, binaries map[*fstree.Node]bool) error {
	a := &archiver{tree: tree, archive: newc.NewWriter(w), binaries: binaries,
		links: map[*fstree.Inode]*hardLink{}, hasher: newHasher()}
	err := a.addAll(lower)
	a.hasher.finish()
	if err != nil {
		return err
	}
	return a.writeListing(listing)
}

func (a *archiver) addAll(lower map[*fstree.Node]bool) error {
	// The lowest archive says what the root is: the kernel's own is a tmpfs with
	// mode 1777.
	if !lower[a.tree.Root()] {
		if err := a.add(".", a.tree.Root()); err != nil {
			return err
		}
	}
	for name, n := range a.tree.All() {
		if lower[n] {
			continue
		}
		if err := a.add(name, n); err != nil {
			return err
		}
	}
	if err := a.archive.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// archiveSize is about how many bytes writeArchive writes.
func archiveSize(tree *fstree.Tree, lower map[*fstree.Node]bool) int64 {
	const perEntry = 256 // header and name
	size := int64(perEntry)
	for _, n := range tree.All() {
		if !lower[n] {
			size += perEntry + n.Size/int64(n.Nlink)
		}
	}
	return size
}

func (a *archiver) writeListing(w io.Writer) error {
	listing := mtree.NewWriter(w)
	for _, entry := range a.listed {
		if entry.digest != nil {
			entry.SHA256 = hex.EncodeToString(entry.digest[:])
		}
		if err := listing.Write(&entry.Entry); err != nil {
			return fmt.Errorf("write listing: %w", err)
		}
	}
	return nil
}

func (a *archiver) add(name string, n *fstree.Node) error {
	entry := listed{Entry: mtree.Entry{Path: name, Type: n.Type.String(), Mode: n.Mode, UID: n.UID, GID: n.GID, Target: n.Target}}
	if n.Type == fstree.Regular {
		entry.Nlink = uint32(n.Nlink)
	}
	if n.Type == fstree.Regular && !a.binaries[n] {
		entry.Size, entry.digest = n.Size, new(digest)
	}
	a.listed = append(a.listed, entry)
	if err := a.addArchive(name, n, &a.listed[len(a.listed)-1]); err != nil {
		return fmt.Errorf("archive /%s: %w", name, err)
	}
	return nil
}

func (a *archiver) addArchive(name string, n *fstree.Node, entry *listed) error {
	if len(n.Xattrs) > 0 {
		return errors.New("extended attributes do not fit into a cpio archive")
	}
	header := newc.Header{Name: name, Mode: n.Mode, UID: n.UID, GID: n.GID, Inode: uint32(len(a.listed)), Nlink: 1}
	hasBody := false
	switch n.Type {
	case fstree.Directory:
		header.Mode |= newc.TypeDir
		header.Nlink = uint32(2 + n.Directories())
	case fstree.Symlink:
		// Hard links of symbolic links become links of their own: the kernel
		// makes no others (init/initramfs.c, do_symlink).
		header.Mode |= newc.TypeSymlink
		header.Size = int64(len(n.Target))
	case fstree.Regular:
		header.Mode |= newc.TypeRegular
		if hasBody = a.link(&header, n, entry); hasBody {
			header.Size = n.Size
		}
	default:
		return fmt.Errorf("it is of type %v; the guest's devtmpfs provides device nodes", n.Type)
	}
	if err := a.archive.WriteHeader(header); err != nil {
		return err
	}
	if n.Type == fstree.Symlink {
		_, err := io.WriteString(a.archive, n.Target)
		return err
	}
	if !hasBody {
		return nil
	}
	return a.hasher.copy(a.archive, a.tree.Open(n), entry.digest)
}

// link gives the names of one file the same inode number, that of the first
// one, and the same digest, and reports whether this name is the last. That one
// carries the content.
func (a *archiver) link(header *newc.Header, n *fstree.Node, entry *listed) bool {
	if n.Nlink == 1 {
		return true
	}
	known := a.links[n.Inode]
	if known == nil {
		known = &hardLink{inode: header.Inode, left: n.Nlink, digest: entry.digest}
		a.links[n.Inode] = known
	}
	known.left--
	header.Inode, header.Nlink, entry.digest = known.inode, uint32(n.Nlink), known.digest
	return known.left == 0
}
