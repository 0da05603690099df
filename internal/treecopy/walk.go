package treecopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Follow says which symbolic links Walk follows.
type Follow int

const (
	FollowNone   Follow = iota
	FollowSource        // the source itself
	FollowFiles         // the source itself, and below it to files: directories are not entered
)

// Entry is one file of a tree.
type Entry struct {
	// Path is the source's with Name behind it.
	Path string
	// Name is the path below the source, "." for the source itself.
	Name string
	// Stat is what stat(2) tells.
	Stat unix.Stat_t

	dir    int // descriptor that name is below
	name   string
	follow bool
}

// Walk calls visit for a file, or for a directory and all below it, each
// directory's names in byte order. An entry that could not be examined comes
// with an error; Walk goes on with the next if visit returns nil. Entries are
// valid during the call of visit only.
//
// It holds one descriptor and the names of one directory for each level.
func Walk(ctx context.Context, source string, follow Follow, visit func(*Entry, error) error) error {
	root := &Entry{Path: source, Name: ".", dir: unix.AT_FDCWD, name: source, follow: follow != FollowNone}
	return root.walk(ctx, follow, visit)
}

func (e *Entry) walk(ctx context.Context, follow Follow, visit func(*Entry, error) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	flags := 0
	if !e.follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	if err := unix.Fstatat(e.dir, e.name, &e.Stat, flags); err != nil {
		return visit(e, &os.PathError{Op: "stat", Path: e.Path, Err: err})
	}
	if err := visit(e, nil); err != nil || e.Stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if e.Name != "." && e.follow {
		var own unix.Stat_t // of the link, if it is one
		if err := unix.Fstatat(e.dir, e.name, &own, unix.AT_SYMLINK_NOFOLLOW); err != nil || own.Mode&unix.S_IFMT == unix.S_IFLNK {
			return nil
		}
	}
	fd, err := e.open(unix.O_DIRECTORY)
	if err != nil {
		return visit(e, err)
	}
	dir := os.NewFile(uintptr(fd), e.Path)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return visit(e, err)
	}
	slices.Sort(names)
	for _, name := range names {
		child := &Entry{
			Path: join(e.Path, name), Name: path.Join(e.Name, name),
			dir: int(dir.Fd()), name: name, follow: follow == FollowFiles,
		}
		if err := child.walk(ctx, follow, visit); err != nil {
			return err
		}
	}
	return nil
}

// join is path.Join without cleaning, which changes what a path with links
// means.
func join(dir, name string) string {
	if dir == "" || dir[len(dir)-1] == '/' {
		return dir + name
	}
	return dir + "/" + name
}

func (e *Entry) open(flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	if !e.follow {
		flags |= unix.O_NOFOLLOW
	}
	for {
		fd, err := unix.Openat(e.dir, e.name, flags, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, &os.PathError{Op: "open", Path: e.Path, Err: err}
		}
	}
}

// Open opens a regular file, and updates Stat to what was opened. Anything else,
// also if it has taken the file's place meanwhile, is an error and never waited
// for.
func (e *Entry) Open() (*Reader, error) {
	if e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, e.notRegular()
	}
	fd, err := e.open(0)
	if err != nil {
		return nil, err
	}
	r := &Reader{fd: fd, path: e.Path}
	if err := unix.Fstat(fd, &e.Stat); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: e.Path, Err: err}
	}
	if e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, e.notRegular()
	}
	return r, nil
}

func (e *Entry) notRegular() error {
	return fmt.Errorf("open %s: it is a %s", e.Path, TypeName(e.Stat.Mode))
}

// ReadLink gives the target of a symbolic link.
func (e *Entry) ReadLink() (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(e.dir, e.name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: e.Path, Err: err}
	}
	return string(buf[:n]), nil
}

// directoryXattrs gives a directory's extended attributes that mean something
// elsewhere.
func (e *Entry) directoryXattrs() (map[string]string, error) {
	fd, err := e.open(unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	xattrs, err := readXattrs(fd, isPortable)
	if err != nil {
		err = fmt.Errorf("%s: %w", e.Path, err)
	}
	return xattrs, errors.Join(err, unix.Close(fd))
}

// Reader reads a regular file. A file of /proc that would have to be waited for
// is an error.
type Reader struct {
	fd   int
	path string
}

// Read reads the file's next bytes.
func (r *Reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	// Without os.File: it would wait for files that can be polled.
	for {
		switch n, err := unix.Read(r.fd, b); {
		case err == unix.EINTR:
		case err != nil:
			return 0, &os.PathError{Op: "read", Path: r.path, Err: err}
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Close closes the file.
func (r *Reader) Close() error {
	if err := unix.Close(r.fd); err != nil {
		return &os.PathError{Op: "close", Path: r.path, Err: err}
	}
	return nil
}
