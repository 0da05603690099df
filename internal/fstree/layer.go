package fstree

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"syscall"
)

// Names of the OCI image specification, layer.md, "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
	// auxPrefix starts names that AUFS kept for itself (.wh..wh.plnk and such).
	// They are no whiteouts and never part of an image's files.
	auxPrefix = ".wh..wh."
)

// paxXattr starts the PAX records that hold extended attributes.
const paxXattr = "SCHILY.xattr."

// AddTar applies the layer that r holds as a plain tar on top of the tree, and
// reads r to its end. After an error the tree is unusable: every later call
// returns the error.
//
//   - Names are taken from the root, whatever they start with: "/a", "./a" and
//     "a" are one. ".." in a name is an error.
//   - The directory part of a name is resolved inside the tree, through symbolic
//     links of this layer and those below. Missing directories get mode 0755.
//   - A whiteout (".wh.name", ".wh..wh..opq") removes what lower layers have,
//     wherever in the layer it stands. One without an object is fine.
//   - A directory over a directory brings its metadata; any other entry replaces
//     what was there. In one layer, the last entry of a name wins, as it does
//     for tar, but a directory with entries of the same layer cannot become
//     something else.
//   - A symbolic link keeps its text, wherever it points: it is resolved inside
//     the tree, where ".." of the root is the root, as it is in the guest.
//   - A hard link's target is a path from the root, of this layer so far or of
//     one below; it is not followed if it is a symbolic link.
//   - Device nodes and FIFOs become nodes, but for the character device 0:0:
//     overlayfs takes it for a whiteout, so the file would not be there.
//   - Sparse files, unknown types, and contents behind the end of the archive are
//     errors. PAX global headers are ignored, and so are PAX records other than
//     those of tar itself and of extended attributes ("SCHILY.xattr.").
func (t *Tree) AddTar(r io.Reader) error {
	return t.apply(func() error { return t.addTar(r) })
}

// apply runs f as one layer.
func (t *Tree) apply(f func() error) error {
	if t.err != nil {
		return t.err
	}
	t.layer++
	err := f()
	if err == nil {
		err = t.flush()
	}
	t.err = err
	return err
}

// countingReader counts a layer's uncompressed bytes against the limits.
type countingReader struct {
	t *Tree
	r io.Reader
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err := c.t.countBytes(int64(n)); err != nil {
		return 0, err
	}
	return n, err
}

func (t *Tree) addTar(r io.Reader) error {
	// The counter is behind the buffer, where reads are large.
	return t.addEntries(bufio.NewReaderSize(countingReader{t, r}, 128<<10), t.write)
}

// addEntries applies the tar in r. What takes a content gives it to the inode,
// with r at its start.
func (t *Tree) addEntries(r io.Reader, take func(inode *Inode, body io.Reader, size int64) error) error {
	archive := tar.NewReader(r)
	last := ""
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		// archive/tar complains about names that are not local if GODEBUG says
		// so; entry has its own rules.
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			if last != "" {
				return fmt.Errorf("read tar behind %.200q: %w", last, err)
			}
			return fmt.Errorf("read tar: %w", err)
		}
		last = header.Name
		if err := t.entry(header, archive, take); err != nil {
			return fmt.Errorf("apply %.200q: %w", header.Name, err)
		}
	}
	return drain(r)
}

// drain reads what is behind the archive's end: tar pads with zeros to a whole
// record. Anything else is content that other readers may take for entries.
func drain(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return errors.New("read tar: data behind the end of the archive")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
	}
}

// entry applies one entry of the layer.
func (t *Tree) entry(header *tar.Header, body io.Reader, take func(*Inode, io.Reader, int64) error) error {
	if err := t.count(1); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	path, err := t.clean(header.Name)
	if err != nil {
		return err
	}
	dirname, name := split(path)
	for part := range strings.SplitSeq(dirname, "/") {
		if strings.HasPrefix(part, whiteoutPrefix) {
			return errors.New("entry below a whiteout")
		}
	}
	if strings.HasPrefix(name, whiteoutPrefix) {
		return t.whiteout(header, dirname, name)
	}
	inode, err := t.inode(header)
	if err != nil {
		return err
	}
	if path == "" {
		if inode.Type != Directory {
			return errors.New("root is not a directory")
		}
		t.root.Inode = inode
		return nil
	}
	dir, err := t.directory(dirname, true)
	if err != nil {
		return fmt.Errorf("resolve parent: %w", err)
	}
	old := dir.children[name]
	switch {
	case header.Typeflag == tar.TypeLink:
		if inode, err = t.linkTarget(header.Linkname, old); err != nil {
			return fmt.Errorf("resolve link target %.200q: %w", header.Linkname, err)
		}
		inode.Nlink++
	case inode.Type == Regular:
		if err := take(inode, body, header.Size); err != nil {
			return err
		}
	case inode.Type == Directory && old != nil && old.Type == Directory:
		old.Inode, old.layer = inode, t.layer
		return nil
	}
	if old != nil {
		if old.hasLayer(t.layer) {
			return errors.New("directory of this layer with entries in it would be replaced")
		}
		t.unlink(old)
	}
	_, err = t.link(dir, name, inode)
	return err
}

// hasLayer reports whether there is anything of the layer below n.
func (n *Node) hasLayer(layer int) bool {
	for _, child := range n.children {
		if child.layer == layer || child.hasLayer(layer) {
			return true
		}
	}
	return false
}

// inode makes the inode that the header describes, without its content. For a
// hard link it is thrown away: the target has the metadata.
func (t *Tree) inode(header *tar.Header) (*Inode, error) {
	inode := &Inode{Nlink: 1}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeLink:
		inode.Type = Regular
	case tar.TypeDir:
		inode.Type = Directory
	case tar.TypeSymlink:
		inode.Type = Symlink
		inode.Target = header.Linkname
		if inode.Target == "" {
			return nil, errors.New("symbolic link without a target")
		}
		if len(inode.Target) > t.Limits.PathBytes {
			return nil, t.Limits.exceeded("link target bytes", int64(len(inode.Target)), int64(t.Limits.PathBytes))
		}
	case tar.TypeChar:
		inode.Type = CharDevice
	case tar.TypeBlock:
		inode.Type = BlockDevice
	case tar.TypeFifo:
		inode.Type = FIFO
	case tar.TypeGNUSparse:
		return nil, errors.New("sparse file is not supported")
	default:
		return nil, fmt.Errorf("unknown tar entry type %q", header.Typeflag)
	}
	if header.Mode < 0 {
		return nil, fmt.Errorf("mode %d is negative", header.Mode)
	}
	// Old archivers put the file type into the mode as well.
	inode.Mode = uint32(header.Mode & 0o7777)
	inode.ModTime = header.ModTime
	var err error
	if inode.UID, err = id("uid", header.Uid); err != nil {
		return nil, err
	}
	if inode.GID, err = id("gid", header.Gid); err != nil {
		return nil, err
	}
	if inode.Type == CharDevice || inode.Type == BlockDevice {
		// 12 and 20 bits: MINORBITS in the kernel's include/linux/kdev_t.h.
		if header.Devmajor < 0 || header.Devmajor >= 1<<12 || header.Devminor < 0 || header.Devminor >= 1<<20 {
			return nil, fmt.Errorf("device number %d:%d is out of range", header.Devmajor, header.Devminor)
		}
		if inode.Type == CharDevice && header.Devmajor == 0 && header.Devminor == 0 {
			return nil, errors.New("character device 0:0 is a whiteout of overlayfs")
		}
		inode.Major, inode.Minor = uint32(header.Devmajor), uint32(header.Devminor)
	}
	for key, value := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return nil, errors.New("sparse file is not supported")
		}
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if err := t.countMeta(len(name) + len(value)); err != nil {
			return nil, err
		}
		if inode.Xattrs == nil {
			inode.Xattrs = map[string]string{}
		}
		inode.Xattrs[name] = value
	}
	return inode, nil
}

// id checks a user or group ID. The highest one is (uid_t)-1, which no file has:
// for chown(2) it means "leave as it is".
func id(what string, n int) (uint32, error) {
	if n < 0 || int64(n) >= math.MaxUint32 {
		return 0, fmt.Errorf("%s %d is out of range", what, n)
	}
	return uint32(n), nil
}

// linkTarget finds the inode for a hard link that replaces old.
func (t *Tree) linkTarget(target string, old *Node) (*Inode, error) {
	path, err := t.clean(target)
	if err != nil {
		return nil, err
	}
	dirname, name := split(path)
	dir, err := t.directory(dirname, false)
	if err != nil {
		return nil, err
	}
	n, ok := dir.children[name]
	switch {
	case path == "" || ok && n.Type == Directory:
		return nil, syscall.EISDIR
	case !ok:
		return nil, fs.ErrNotExist
	case n == old:
		return nil, errors.New("hard link to itself")
	}
	return n.Inode, nil
}

// whiteout removes what lower layers have under the name that it hides.
func (t *Tree) whiteout(header *tar.Header, dirname, name string) error {
	// AUFS made whiteouts as hard links to one file.
	if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeLink || header.Size != 0 {
		return errors.New("whiteout is not an empty file")
	}
	hidden := strings.TrimPrefix(name, whiteoutPrefix)
	switch {
	case name == opaqueWhiteout:
	case strings.HasPrefix(name, auxPrefix):
		return errors.New("AUFS metadata is not supported")
	case hidden == "" || hidden == "." || hidden == "..":
		return errors.New("whiteout without a name")
	}
	dir, err := t.directory(dirname, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("resolve parent: %w", err)
	}
	if name == opaqueWhiteout {
		t.pruneBelow(dir)
	} else if n, ok := dir.children[hidden]; ok {
		t.prune(n)
	}
	return nil
}

// prune removes n and what is below it as far as lower layers put it there. A
// lower directory that holds entries of this layer stays, as one made for them.
func (t *Tree) prune(n *Node) {
	t.pruneBelow(n)
	switch {
	case n.layer == t.layer:
	case len(n.children) > 0:
		n.Inode, n.layer = impliedDir(), t.layer
	default:
		t.unlink(n)
	}
}

// pruneBelow is prune without n itself. The mark keeps a layer of thousands of
// whiteouts from walking the same entries thousands of times.
func (t *Tree) pruneBelow(n *Node) {
	if n.pruned == t.layer {
		return
	}
	n.pruned = t.layer
	for _, child := range n.children {
		t.prune(child)
	}
}
