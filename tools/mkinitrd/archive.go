package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// archiver writes the entries of a tree to an archive and to its listing, so
// that the two cannot disagree.
type archiver struct {
	tree     *fstree.Tree
	archive  *newc.Writer
	listing  *mtree.Writer
	binaries map[*fstree.Node]bool
	subdirs  map[string]uint32 // directory -> how many directories it has
	links    map[*fstree.Inode]*hardLink
	entries  uint32
}

// hardLink is what is known of a file with several names.
type hardLink struct {
	inode uint32
	left  int // names still to come
}

// writeArchive writes what the tree has above its lower nodes.
func writeArchive(w, listing io.Writer, tree *fstree.Tree, lower, binaries map[*fstree.Node]bool) error {
	a := &archiver{tree: tree, archive: newc.NewWriter(w), listing: mtree.NewWriter(listing), binaries: binaries,
		subdirs: map[string]uint32{}, links: map[*fstree.Inode]*hardLink{}}
	for name, n := range tree.All() {
		if n.Type == fstree.Directory {
			a.subdirs[path.Dir(name)]++
		}
	}
	// The lowest archive says what the root is: the kernel's own is a tmpfs with
	// mode 1777.
	if !lower[tree.Root()] {
		if err := a.add(".", tree.Root()); err != nil {
			return err
		}
	}
	for name, n := range tree.All() {
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

func (a *archiver) add(name string, n *fstree.Node) error {
	if err := a.addArchive(name, n); err != nil {
		return fmt.Errorf("archive /%s: %w", name, err)
	}
	entry := &mtree.Entry{Path: name, Type: n.Type.String(), Mode: n.Mode, UID: n.UID, GID: n.GID, Target: n.Target}
	if n.Type == fstree.Regular {
		entry.Nlink = uint32(n.Nlink)
	}
	if n.Type == fstree.Regular && !a.binaries[n] {
		sum := sha256.New()
		if _, err := io.Copy(sum, a.tree.Open(n)); err != nil {
			return fmt.Errorf("hash /%s: %w", name, err)
		}
		entry.SHA256, entry.Size = fmt.Sprintf("%x", sum.Sum(nil)), n.Size
	}
	if err := a.listing.Write(entry); err != nil {
		return fmt.Errorf("write listing: %w", err)
	}
	return nil
}

func (a *archiver) addArchive(name string, n *fstree.Node) error {
	a.entries++
	if len(n.Xattrs) > 0 {
		return errors.New("extended attributes do not fit into a cpio archive")
	}
	header := newc.Header{Name: name, Mode: n.Mode, UID: n.UID, GID: n.GID, Inode: a.entries, Nlink: 1}
	var body io.Reader
	switch n.Type {
	case fstree.Directory:
		header.Mode |= newc.TypeDir
		header.Nlink = 2 + a.subdirs[name]
	case fstree.Symlink:
		// Hard links of symbolic links become links of their own: the kernel
		// makes no others (init/initramfs.c, do_symlink).
		header.Mode |= newc.TypeSymlink
		header.Size = int64(len(n.Target))
	case fstree.Regular:
		header.Mode |= newc.TypeRegular
		if a.link(&header, n) {
			header.Size = n.Size
			body = a.tree.Open(n)
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
	if body == nil {
		return nil
	}
	_, err := a.archive.ReadFrom(body)
	return err
}

// link gives the names of one file the same inode number, that of the first
// one, and reports whether this name is the last. That one carries the content.
func (a *archiver) link(header *newc.Header, n *fstree.Node) bool {
	if n.Nlink == 1 {
		return true
	}
	known := a.links[n.Inode]
	if known == nil {
		known = &hardLink{inode: a.entries, left: n.Nlink}
		a.links[n.Inode] = known
	}
	known.left--
	header.Inode, header.Nlink = known.inode, uint32(n.Nlink)
	return known.left == 0
}
