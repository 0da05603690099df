package fstree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// EnsureDir is PlaceDir if there is nothing under path. A directory that is
// there, symbolic links followed, stays as it is.
func (t *Tree) EnsureDir(path string, meta Meta) error {
	n, err := t.find(path, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t.PlaceDir(path, meta)
	case err == nil && n.Type != Directory:
		err = fs.ErrExist
	}
	if err != nil {
		return &fs.PathError{Op: "place directory", Path: path, Err: err}
	}
	return nil
}

// PlaceDir makes a directory. As for the other Place functions, the directory
// part of path is resolved inside the tree, missing directories in it get mode
// 0755, and there must be nothing under path yet, not even a symbolic link:
// fs.ErrExist.
func (t *Tree) PlaceDir(path string, meta Meta) error {
	return t.place("place directory", path, &Inode{Type: Directory, Meta: meta}, nil, 0)
}

// PlaceSymlink makes a symbolic link with the text target.
func (t *Tree) PlaceSymlink(path, target string, meta Meta) error {
	return t.place("place link", path, &Inode{Type: Symlink, Meta: meta, Target: target}, nil, 0)
}

// PlaceFile makes a regular file with size bytes of r, which must not have more.
func (t *Tree) PlaceFile(path string, meta Meta, r io.Reader, size int64) error {
	return t.place("place file", path, &Inode{Type: Regular, Meta: meta}, r, size)
}

// PlaceFileFrom makes a regular file with the content of a file of the host,
// which is not copied: it must stay as it is until Close. One that changed size
// or time is an error of who reads it.
func (t *Tree) PlaceFileFrom(path string, meta Meta, source string) error {
	file, err := newHostFile(&t.host, source)
	if err != nil {
		return fmt.Errorf("place file %s: %w", path, err)
	}
	return t.place("place file", path, &Inode{Type: Regular, Meta: meta, content: file, Size: file.size}, nil, file.size)
}

func (t *Tree) place(op, path string, inode *Inode, content io.Reader, size int64) error {
	if err := t.placeInode(path, inode, content, size); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

func (t *Tree) placeInode(path string, inode *Inode, content io.Reader, size int64) error {
	if t.err != nil {
		return t.err
	}
	path, err := t.clean(path)
	if err != nil {
		return err
	}
	if path == "" {
		return fs.ErrExist
	}
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(part, whiteoutPrefix) {
			return errors.New("name starts with " + whiteoutPrefix + ", which is kept for whiteouts")
		}
	}
	if inode.Mode&^0o7777 != 0 {
		return fmt.Errorf("mode %#o is not one of permissions", inode.Mode)
	}
	if inode.Type == Symlink && (inode.Target == "" || len(inode.Target) > t.Limits.PathBytes || strings.IndexByte(inode.Target, 0) >= 0) {
		return fmt.Errorf("link target %q is not a path", inode.Target)
	}
	if err := t.count(1); err != nil {
		return err
	}
	dirname, name := split(path)
	dir, err := t.directory(dirname, true)
	if err != nil {
		return err
	}
	if _, ok := dir.children[name]; ok {
		return fs.ErrExist
	}
	inode.Nlink = 1
	if inode.Type == Regular {
		if err := t.countBytes(max(size, 0)); err != nil {
			return err
		}
		if err := t.placeContent(inode, content, size); err != nil {
			return err
		}
	}
	_, err = t.link(dir, name, inode)
	return err
}

// placeContent copies what is not in a file of the host.
func (t *Tree) placeContent(inode *Inode, content io.Reader, size int64) error {
	if inode.content != nil {
		return t.Limits.checkSize(size)
	}
	if err := t.write(inode, content, size); err != nil {
		return err
	}
	if n, err := io.ReadFull(content, make([]byte, 1)); n != 0 {
		return fmt.Errorf("content is longer than %d bytes", size)
	} else if err != io.EOF {
		return fmt.Errorf("copy content: %w", err)
	}
	return t.flush()
}
