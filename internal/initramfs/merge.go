package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// File is what the kernel has at a path when it has read the whole initrd.
type File struct {
	Path string // from the root, without a leading slash; the root itself is "."
	// Entry has the file's type, owner and link target, and the size of its data.
	// Its Number and Segment are those of the entry that brought the data, and of
	// what has none those of the last that brought the file; its Name and Nlink
	// say nothing.
	Entry
	SHA256 string // of a regular file's data
}

// Tree is what the kernel makes of an initrd.
type Tree struct {
	Files    []File // sorted by path
	Segments []Segment
	nodes    *merger
}

// Merge reads an initrd and gives what the kernel makes of it: a later entry
// overrides an earlier one. A file whose folder does not exist, and one in the
// place of a folder that is not empty, is an error: the kernel skips it without a
// word.
func Merge(r io.ReaderAt, size int64) (*Tree, error) {
	m := &merger{nodes: map[string]*node{}, children: map[string]int{}, links: map[linkKey]string{}}
	m.nodes["."] = &node{builtin: true, Entry: Entry{Mode: TypeDir}}
	// What the kernel has before: usr/default_cpio_list.
	m.set("dev", &node{builtin: true, Entry: Entry{Mode: TypeDir}})
	m.set("dev/console", &node{builtin: true, Entry: Entry{Mode: TypeCharDevice, RdevMajor: 5, RdevMinor: 1}})
	m.set("root", &node{builtin: true, Entry: Entry{Mode: TypeDir}})
	segments, err := Walk(r, size, func(entry *Entry, body io.Reader) error {
		if err := m.add(entry, body); err != nil {
			return fmt.Errorf("read segment %d: entry %q at %d: %w", entry.Segment, entry.Name, entry.Offset, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	tree := &Tree{Segments: segments, nodes: m}
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		if node := m.nodes[name]; !node.builtin {
			tree.Files = append(tree.Files, node.file(name))
		}
	}
	return tree, nil
}

// Lookup finds the file that a path leads to, through symbolic links.
func (t *Tree) Lookup(name string) (File, error) {
	at, err := t.nodes.locate(name, true)
	if err != nil {
		return File{}, fmt.Errorf("find %q: %w", name, err)
	}
	node := t.nodes.nodes[at]
	if node == nil || node.builtin {
		return File{}, fmt.Errorf("find %q: %q does not exist", name, at)
	}
	return node.file(at), nil
}

// node is an inode: the names of a hard link share it.
type node struct {
	Entry
	sum     string
	builtin bool // and nothing said of it since
}

func (n *node) file(name string) File {
	return File{Path: name, Entry: n.Entry, SHA256: n.sum}
}

type linkKey struct {
	archive                   int
	devMajor, devMinor, inode uint32
	kind                      uint32
}

type merger struct {
	nodes    map[string]*node
	children map[string]int // how many names a folder has
	links    map[linkKey]string
}

func (m *merger) set(name string, n *node) {
	if m.nodes[name] == nil {
		m.children[path.Dir(name)]++
	}
	m.nodes[name] = n
}

// add does what do_name and do_symlink of init/initramfs.c do.
func (m *merger) add(entry *Entry, body io.Reader) error {
	name, err := m.locate(entry.Name, false)
	if err != nil {
		return fmt.Errorf("%w: the kernel would skip it", err)
	}
	kind := entry.Mode & TypeMask
	old := m.nodes[name]
	// What is there stays only if it has the same type, and no symbolic link does.
	if old != nil && (old.Mode&TypeMask != kind || kind == TypeSymlink) {
		if err := m.remove(name); err != nil {
			return err
		}
		old = nil
	}
	if kind != TypeDir && kind != TypeSymlink && entry.Nlink >= 2 {
		key := linkKey{entry.Archive, entry.DevMajor, entry.DevMinor, entry.Inode, kind}
		if first, linked := m.links[key]; linked {
			return m.link(name, first, entry, body)
		}
		m.links[key] = name
	}
	if old == nil {
		old = &node{Entry: *entry}
		m.set(name, old)
	}
	if entry.RdevMajor != old.RdevMajor || entry.RdevMinor != old.RdevMinor {
		return fmt.Errorf("device is there as %d:%d: the kernel would not change it", old.RdevMajor, old.RdevMinor)
	}
	return old.write(entry, body, true)
}

// link makes a hard link to what has the first name.
func (m *merger) link(name, first string, entry *Entry, body io.Reader) error {
	target := m.nodes[first]
	if name == first || target == nil || (target.Mode^entry.Mode)&TypeMask != 0 {
		return fmt.Errorf("it is a hard link to %q, which is no longer there: the kernel would skip it", first)
	}
	m.set(name, target)
	if entry.Mode&TypeMask != TypeRegular {
		return nil
	}
	return target.write(entry, body, entry.Size > 0)
}

// write gives an inode an entry's owner and mode and, if wanted, its data.
func (n *node) write(entry *Entry, body io.Reader, data bool) error {
	before := n.Entry
	n.Entry, n.builtin = *entry, false
	if !data {
		n.Size, n.Number, n.Segment = before.Size, before.Number, before.Segment // the data stays
		return nil
	}
	if entry.Mode&TypeMask != TypeRegular {
		return nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, body); err != nil {
		return err
	}
	n.sum = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// remove takes a name away.
func (m *merger) remove(name string) error {
	if m.children[name] > 0 || name == "." {
		return errors.New("it is in the place of a folder that is not empty: the kernel would skip it")
	}
	delete(m.nodes, name)
	m.children[path.Dir(name)]--
	return nil
}

// maxLinks is how many symbolic links the kernel follows in a path: MAXSYMLINKS.
const maxLinks = 40

// locate finds the path that a name has when the symbolic links of its folders
// are followed, and if wanted its last one. The kernel makes no folders that are
// missing.
func (m *merger) locate(name string, follow bool) (string, error) {
	at, links := ".", 0
	parts := components(name)
	for len(parts) > 0 {
		part, last := parts[0], len(parts) == 1
		parts = parts[1:]
		if part == ".." {
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		node := m.nodes[next]
		isLink := node != nil && node.Mode&TypeMask == TypeSymlink
		switch {
		case last && !(follow && isLink):
			return next, nil
		case node == nil:
			return "", fmt.Errorf("folder %q does not exist", next)
		case node.Mode&TypeMask == TypeDir:
			at = next
		case !isLink:
			return "", fmt.Errorf("%q is no folder", next)
		default:
			if links++; links > maxLinks {
				return "", fmt.Errorf("more than %d symbolic links in a path", maxLinks)
			}
			if strings.HasPrefix(node.Target, "/") {
				at = "."
			}
			parts = append(components(node.Target), parts...)
		}
	}
	return at, nil
}

// components are a path's parts without those that mean nothing.
func components(name string) []string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}
