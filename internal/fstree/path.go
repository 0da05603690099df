package fstree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

const (
	// maxSymlinks is how many symbolic links one path may lead through,
	// MAXSYMLINKS of the kernel.
	maxSymlinks = 40
	// maxSteps bounds the components of one path with all its links in it, so
	// that long targets full of ".." cannot make every entry expensive.
	maxSteps = 8192
)

// clean brings a name to the form that the tree uses: components separated by
// one slash, none in front, none behind. A leading "/" or "./" means the root
// of the image and is dropped, as tar and containerd do; the root itself is "".
// A ".." is an error, even where it would stay inside: no producer of layers
// writes one.
func (t *Tree) clean(name string) (string, error) {
	if len(name) > t.Limits.PathBytes {
		return "", t.Limits.exceeded("path bytes", int64(len(name)), int64(t.Limits.PathBytes))
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("name contains NUL")
	}
	parts := make([]string, 0, 16)
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return "", errors.New(`name contains ".."`)
		case len(part) > t.Limits.NameBytes:
			return "", t.Limits.exceeded("name bytes", int64(len(part)), int64(t.Limits.NameBytes))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "/"), nil
}

// split cuts a clean path before its last component.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// Lookup returns the node that a process with the tree as its root would find
// under path, symbolic links followed, the last one too. A missing path is
// fs.ErrNotExist.
func (t *Tree) Lookup(path string) (*Node, error) {
	n, err := t.find(path, true)
	if err != nil {
		return nil, &fs.PathError{Op: "lookup", Path: path, Err: err}
	}
	return n, nil
}

// Lstat is Lookup that does not follow a symbolic link at the end of path.
func (t *Tree) Lstat(path string) (*Node, error) {
	n, err := t.find(path, false)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return n, nil
}

func (t *Tree) find(path string, follow bool) (*Node, error) {
	if t.err != nil {
		return nil, t.err
	}
	path, err := t.clean(path)
	if err != nil {
		return nil, err
	}
	if follow || path == "" {
		return t.resolve(path, false)
	}
	dirname, name := split(path)
	dir, err := t.directory(dirname, false)
	if err != nil {
		return nil, err
	}
	n, ok := dir.children[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n, nil
}

// directory resolves the clean path of a directory. With create, missing
// directories are made, also those that a dangling symbolic link points to:
// containerd does it too, and a layer made on top of such a link relies on it.
func (t *Tree) directory(path string, create bool) (*Node, error) {
	n, err := t.resolve(path, create)
	if err != nil {
		return nil, err
	}
	if n.Type != Directory {
		return nil, syscall.ENOTDIR
	}
	return n, nil
}

// resolve follows path from the root. Links stay inside: an absolute target
// starts at the tree's root, and ".." of the root is the root.
func (t *Tree) resolve(path string, create bool) (*Node, error) {
	n, links, steps := t.root, 0, 0
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		if steps++; steps > maxSteps {
			return nil, fmt.Errorf("more than %d components: %w", maxSteps, syscall.ELOOP)
		}
		if n.Type != Directory {
			return nil, syscall.ENOTDIR
		}
		switch name {
		case "", ".":
			continue
		case "..":
			if n.parent != nil {
				n = n.parent
			}
			continue
		}
		child, ok := n.children[name]
		switch {
		case !ok && !create:
			return nil, fs.ErrNotExist
		case !ok:
			if len(name) > t.Limits.NameBytes {
				return nil, t.Limits.exceeded("name bytes", int64(len(name)), int64(t.Limits.NameBytes))
			}
			if err := t.count(1); err != nil {
				return nil, err
			}
			var err error
			if n, err = t.link(n, name, impliedDir()); err != nil {
				return nil, err
			}
		case child.Type == Symlink:
			if links++; links > maxSymlinks {
				return nil, syscall.ELOOP
			}
			if path == "" {
				path = child.Target
			} else {
				path = child.Target + "/" + path
			}
			if strings.HasPrefix(child.Target, "/") {
				n = t.root
			}
		default:
			n = child
		}
	}
	return n, nil
}
