package fstree

import (
	"archive/tar"
	"fmt"
	"io"
)

// WriteTar writes the tree as a PAX tar: the root as "./", then everything in
// the order of All. Equal trees give equal bytes. The second and later names of
// an inode are hard links to its first one.
func (t *Tree) WriteTar(w io.Writer) error {
	if t.err != nil {
		return t.err
	}
	archive := tar.NewWriter(w)
	if err := writeHeader(archive, "./", "", t.root); err != nil {
		return err
	}
	first := map[*Inode]string{} // of inodes with several names
	for path, n := range t.All() {
		linked := first[n.Inode]
		if linked == "" && n.Nlink > 1 {
			first[n.Inode] = path
		}
		if err := writeHeader(archive, path, linked, n); err != nil {
			return err
		}
		if n.Type != Regular || linked != "" {
			continue
		}
		if _, err := io.Copy(archive, t.Open(n)); err != nil {
			return fmt.Errorf("write tar entry %q: %w", path, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("close tar: %w", err)
	}
	return nil
}

func writeHeader(w *tar.Writer, path, linked string, n *Node) error {
	header := &tar.Header{
		Name:    path,
		Mode:    int64(n.Mode),
		Uid:     int(n.UID),
		Gid:     int(n.GID),
		ModTime: n.ModTime,
		Format:  tar.FormatPAX,
	}
	for name, value := range n.Xattrs {
		if header.PAXRecords == nil {
			header.PAXRecords = map[string]string{}
		}
		header.PAXRecords[paxXattr+name] = value
	}
	switch {
	case linked != "":
		header.Typeflag, header.Linkname = tar.TypeLink, linked
	case n.Type == Regular:
		header.Typeflag, header.Size = tar.TypeReg, n.Size
	case n.Type == Directory:
		header.Typeflag = tar.TypeDir
		if n.parent != nil {
			header.Name += "/"
		}
	case n.Type == Symlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, n.Target
	case n.Type == CharDevice:
		header.Typeflag = tar.TypeChar
	case n.Type == BlockDevice:
		header.Typeflag = tar.TypeBlock
	case n.Type == FIFO:
		header.Typeflag = tar.TypeFifo
	}
	if linked == "" {
		header.Devmajor, header.Devminor = int64(n.Major), int64(n.Minor)
	}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("write tar entry %q: %w", path, err)
	}
	return nil
}
