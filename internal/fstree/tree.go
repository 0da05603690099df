// Package fstree is a file tree in memory, made from the layers of an OCI image
// and from files that a builder places. Applying layers to a tree instead of a
// folder touches no file system of the host: no root rights, no device nodes,
// no symbolic link of an image that leads out of it.
//
// Names, metadata and link targets stay in memory. Contents that a file of the
// host has stay there; others go to one unlinked temporary file, so that an image
// of a gigabyte costs a gigabyte of disk and a few megabytes of memory.
//
// Rules for layers are those of the OCI image specification ("Image Layer
// Filesystem Changeset", layer.md) and, where it is silent, those of containerd.
// Input that cannot be represented is an error that names the path. Nothing is
// left out in silence. docs/layers.md lists every case and what becomes of it.
//
// The package does not write file systems or archives other than WriteTar's,
// and it does not judge: whether device nodes, set-user-ID files or extended
// attributes are welcome is for the exporter to decide.
package fstree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"
)

// Type is the kind of file that an inode is.
type Type uint8

const (
	Regular Type = iota
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
)

// String is the type's name as in the type keyword of mtree(5).
func (t Type) String() string {
	switch t {
	case Regular:
		return "file"
	case Directory:
		return "dir"
	case Symlink:
		return "link"
	case CharDevice:
		return "char"
	case BlockDevice:
		return "block"
	case FIFO:
		return "fifo"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Meta is the metadata of a file.
type Meta struct {
	Mode     uint32 // permissions with set-user-ID, set-group-ID and sticky: 07777
	UID, GID uint32
	ModTime  time.Time
	Xattrs   map[string]string // extended attributes, values are bytes
}

// Inode is a file apart from its names. Hard links are nodes that share one.
// Callers read it; only the tree changes it.
type Inode struct {
	Meta
	Type         Type
	Size         int64  // of a regular file's content
	Target       string // of a symbolic link
	Major, Minor uint32 // of a device
	Nlink        int    // names in the tree; 1 for a directory

	content io.ReaderAt // nil is none
	offset  int64       // in content
}

// Node is a name in the tree.
type Node struct {
	*Inode
	name     string
	parent   *Node
	children map[string]*Node // of a directory
	pathLen  int
	layer    int // the layer that put the node here or changed it last
	pruned   int // the newest layer for which no older entry is left below
}

// Name is the last component of the node's path, "" for the root.
func (n *Node) Name() string { return n.name }

// Path is the node's path from the root, without a leading slash; "" is the root.
func (n *Node) Path() string {
	if n.parent == nil {
		return ""
	}
	names := make([]string, 0, 16)
	for ; n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Directories is how many directories are in the node, which is one.
func (n *Node) Directories() int {
	count := 0
	for _, child := range n.children {
		if child.Type == Directory {
			count++
		}
	}
	return count
}

// Tree is a file tree. It is not safe for concurrent changes; reading it from
// several goroutines is fine.
type Tree struct {
	// Limits bounds what goes into the tree. New sets DefaultLimits; change it
	// before the first layer.
	Limits Limits

	root    *Node
	spool   *os.File
	writer  *bufio.Writer // in front of spool
	offset  int64         // where the next content starts
	host    hostFiles
	layer   int
	entries int
	bytes   int64 // bytes of layers and files taken so far
	meta    int64 // bytes of names, targets and attributes taken so far
	err     error // why the tree is unusable
}

// New returns a tree that holds only a root directory with mode 0755. Contents
// that are copied go to a temporary file in dir, which has no name as soon as New
// returns; with "" for dir it is in os.TempDir.
func New(dir string) (*Tree, error) {
	spool, err := os.CreateTemp(dir, "fstree-")
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink spool: %w", err), spool.Close())
	}
	return &Tree{
		Limits: DefaultLimits(),
		root:   &Node{Inode: impliedDir(), children: map[string]*Node{}},
		spool:  spool,
		writer: bufio.NewWriterSize(spool, 256<<10),
	}, nil
}

// Close frees the contents. Nothing of the tree may be read after it.
func (t *Tree) Close() error {
	t.err = errors.New("tree is closed")
	if err := errors.Join(t.spool.Close(), t.host.close()); err != nil {
		return fmt.Errorf("close contents: %w", err)
	}
	return nil
}

// Root is the root directory. Layers can set its metadata.
func (t *Tree) Root() *Node { return t.root }

// ContentSize is how many bytes the contents of all files have, of each file once,
// whatever number of names it has.
func (t *Tree) ContentSize() int64 {
	var size int64
	linked := map[*Inode]bool{}
	for _, n := range t.All() {
		if linked[n.Inode] {
			continue
		}
		if n.Nlink > 1 {
			linked[n.Inode] = true
		}
		size += n.Size
	}
	return size
}

// Open returns a reader of the content of n, which is empty unless n is a
// regular file. It stays valid until Close.
func (t *Tree) Open(n *Node) *io.SectionReader {
	return io.NewSectionReader(n.content, n.offset, n.Size)
}

// All iterates over every node but the root. Paths come in the order of their
// bytes, as `LC_ALL=C sort` has them, which puts a directory before all that is
// in it. The tree must not change meanwhile. A tree that is unusable because a
// layer failed has no nodes.
func (t *Tree) All() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		if t.err == nil {
			t.root.walk("", yield)
		}
	}
}

// walk yields all that is below n. A directory stands twice in the order of its
// siblings, as "name" for itself and as "name/" for what is in it: "a", "a-b",
// "a/b" is the order of bytes since '-' comes before '/'.
func (n *Node) walk(prefix string, yield func(string, *Node) bool) bool {
	keys := make([]string, 0, len(n.children))
	for name, child := range n.children {
		keys = append(keys, name)
		if len(child.children) > 0 {
			keys = append(keys, name+"/")
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if name, isBelow := strings.CutSuffix(key, "/"); isBelow {
			if !n.children[name].walk(prefix+key, yield) {
				return false
			}
		} else if !yield(prefix+key, n.children[key]) {
			return false
		}
	}
	return true
}

// impliedDir is the inode of a directory that an entry needs and no layer has.
func impliedDir() *Inode {
	return &Inode{Type: Directory, Nlink: 1, Meta: Meta{Mode: 0o755, ModTime: time.Unix(0, 0)}}
}

// link makes a new node in dir. There must be none of that name.
func (t *Tree) link(dir *Node, name string, inode *Inode) (*Node, error) {
	pathLen := dir.pathLen + len(name)
	if dir.parent != nil {
		pathLen++
	}
	// A short name in a layer can be a long path behind a symbolic link.
	if pathLen > t.Limits.PathBytes {
		return nil, t.Limits.exceeded("path bytes", int64(pathLen), int64(t.Limits.PathBytes))
	}
	if err := t.countMeta(len(name) + len(inode.Target)); err != nil {
		return nil, err
	}
	n := &Node{Inode: inode, name: name, parent: dir, pathLen: pathLen, layer: t.layer, pruned: t.layer}
	if inode.Type == Directory {
		n.children = map[string]*Node{}
	}
	dir.children[name] = n
	return n, nil
}

// unlink takes n and all that is below it out of the tree.
func (t *Tree) unlink(n *Node) {
	for _, child := range n.children {
		t.unlink(child)
	}
	delete(n.parent.children, n.name)
	n.Nlink--
}

// write copies size bytes of r to the spool as the content of inode.
func (t *Tree) write(inode *Inode, r io.Reader, size int64) error {
	if err := t.Limits.checkSize(size); err != nil {
		return err
	}
	inode.content, inode.offset, inode.Size = t.spool, t.offset, size
	n, err := io.CopyN(t.writer, r, size)
	t.offset += n
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, size)
	}
	if err != nil {
		return fmt.Errorf("copy content: %w", err)
	}
	return nil
}

// flush makes all contents visible to Open.
func (t *Tree) flush() error {
	if err := t.writer.Flush(); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	return nil
}
