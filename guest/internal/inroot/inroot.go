// Package inroot opens, makes and replaces files of an image by paths that are
// resolved with the image as the root: links, absolute ones too, and .. lead to
// places inside it. PID 1 uses it for all that it does in the image before the
// image has become its root, and the agent, whose root the image is, to replace
// files.
//
// It does not keep what it makes from processes of the image, which run as root
// once they run.
package inroot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is a directory that stands for / in every path.
type Root struct {
	fd int
}

// Open opens a directory as a root.
func Open(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root %s: %w", dir, err)
	}
	return &Root{fd: fd}, nil
}

// Close closes the root. Descriptors that it gave stay open.
func (r *Root) Close() error {
	if err := unix.Close(r.fd); err != nil {
		return fmt.Errorf("close root: %w", err)
	}
	return nil
}

// Is tells whether a descriptor is of the root's directory.
func (r *Root) Is(fd int) (bool, error) {
	var root, other unix.Stat_t
	if err := errors.Join(unix.Fstat(r.fd, &root), unix.Fstat(fd, &other)); err != nil {
		return false, fmt.Errorf("look at root: %w", err)
	}
	return root.Dev == other.Dev && root.Ino == other.Ino, nil
}

// open opens a path as if the root were the root: links and .. stay inside
// (openat2(2), RESOLVE_IN_ROOT).
func (r *Root) open(name string, flags uint64, mode uint64) (int, error) {
	for {
		fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Mode: mode, Resolve: unix.RESOLVE_IN_ROOT})
		// EAGAIN: something was renamed meanwhile and the kernel could not be sure.
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// EnsureDirectory opens a directory, made when missing as are its parents. The
// descriptor is for its path only (O_PATH), as a mount point is; the caller
// closes it.
func (r *Root) EnsureDirectory(name string) (int, error) {
	name = path.Clean("/" + name)
	if err := r.ensureDirectories(name); err != nil {
		return -1, err
	}
	fd, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s in the image: %w", name, err)
	}
	return fd, nil
}

// EnsureFile opens a regular file, made when missing as are its parents. The
// descriptor is for its path only (O_PATH), as a mount point is; the caller
// closes it.
func (r *Root) EnsureFile(name string) (int, error) {
	name = path.Clean("/" + name)
	if err := r.ensureDirectories(path.Dir(name)); err != nil {
		return -1, err
	}
	// Nothing but a path is opened of what is there already: it may be a FIFO or
	// a device.
	fd, err := r.open(name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) {
		created, createErr := r.open(name, unix.O_CREAT|unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0o755)
		if createErr != nil {
			return -1, fmt.Errorf("make %s in the image: %w", name, createErr)
		}
		unix.Close(created)
		fd, err = r.open(name, unix.O_PATH, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s in the image: %w", name, err)
	}
	if err := isRegular(fd, name); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// OpenFile opens a regular file for reading.
func (r *Root) OpenFile(name string) (*os.File, error) {
	// To open a FIFO waits, and to open a device does what the device likes.
	fd, err := r.open(name, unix.O_PATH, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s in the image: %w", name, err)
	}
	defer unix.Close(fd)
	if err := isRegular(fd, name); err != nil {
		return nil, err
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("open %s in the image: %w", name, err)
	}
	return file, nil
}

// ReadFile reads a regular file of up to limit bytes. One of more is an error.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	file, err := r.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s in the image: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("read %s in the image: more than %d bytes", name, limit)
	}
	return content, nil
}

// ReadLink gives the target of a symbolic link.
func (r *Root) ReadLink(name string) (string, error) {
	target := make([]byte, unix.PathMax)
	fd, err := r.open(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", fmt.Errorf("open %s in the image: %w", name, err)
	}
	defer unix.Close(fd)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return "", fmt.Errorf("read link %s in the image: %w", name, err)
	}
	return string(target[:n]), nil
}

// ReadDir lists a directory, sorted.
func (r *Root) ReadDir(name string) ([]os.DirEntry, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s in the image: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s in the image: %w", name, err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func isRegular(fd int, name string) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("look at %s in the image: %w", name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s in the image is no regular file", name)
	}
	return nil
}

// ensureDirectories makes a directory and its parents unless something has
// their names.
func (r *Root) ensureDirectories(name string) error {
	if name == "/" {
		return nil
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		if err := r.ensureDirectory(name[:i]); err != nil {
			return err
		}
	}
	return r.ensureDirectory(name)
}

// ensureDirectory makes a directory unless something has its name. The parent
// must be there.
func (r *Root) ensureDirectory(dir string) error {
	parent, err := r.open(path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open %s in the image: %w", path.Dir(dir), err)
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s in the image: %w", dir, err)
	}
	return nil
}
