package treecopy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// blockSize is the length of zeros that becomes a hole, where it starts at a
// multiple of it: the block of most file systems.
const blockSize = 4096

var zeroBlock [blockSize]byte

// temporaryName is for what has no name yet. It fits where any name does.
func temporaryName() string { return ".kindling-" + rand.Text() }

// File is a new file in a directory that takes its name, perhaps another file's,
// when it is complete. Blocks of zeros become holes.
type File struct {
	dir  *os.File
	file *os.File
	temp string // name until Commit; then ""
	size int64
}

// NewFile makes a file without a name in a directory that is open for reading
// and stays so until Commit or Discard. Until Commit only its owner may read it.
func NewFile(dir *os.File) (*File, error) {
	temp := temporaryName()
	file, err := openAt(dir, temp, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{dir: dir, file: file, temp: temp}, nil
}

// Size is how much was written, in bytes.
func (f *File) Size() int64 { return f.size }

// Write adds to the end of the file.
func (f *File) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		// Up to the next run of zeros, or to the end of it.
		zero := isZero(b[done:f.blockEnd(b, done)])
		end := done
		for end < len(b) {
			next := f.blockEnd(b, end)
			if isZero(b[end:next]) != zero {
				break
			}
			end = next
		}
		if !zero {
			if n, err := f.file.WriteAt(b[done:end], f.size+int64(done)); err != nil {
				f.size += int64(done + n)
				return done + n, err
			}
		}
		done = end
	}
	f.size += int64(done)
	return done, nil
}

// blockEnd is where the file's block of b[at] ends in b.
func (f *File) blockEnd(b []byte, at int) int {
	return min(len(b), at+blockSize-int((f.size+int64(at))%blockSize))
}

func isZero(b []byte) bool { return bytes.Equal(b, zeroBlock[:len(b)]) }

// Commit gives the file its attributes and its name. What has the name already
// is replaced if it is a regular file or a symbolic link. With sync, the content
// is on the disk before the name, and the name when Commit returns.
func (f *File) Commit(name string, attributes *Attributes, sync bool) error {
	if err := f.file.Truncate(f.size); err != nil { // a hole at the end
		return fmt.Errorf("set size: %w", err)
	}
	if err := attributes.ApplyTo(int(f.file.Fd())); err != nil {
		return err
	}
	if sync {
		if err := f.file.Sync(); err != nil {
			return err
		}
	}
	if err := rename(f.dir, f.temp, name); err != nil {
		return err
	}
	f.temp = ""
	if sync {
		return f.dir.Sync()
	}
	return nil
}

// Discard closes the file and removes it unless it has its name.
func (f *File) Discard() error {
	err := f.file.Close()
	if f.temp == "" {
		return err
	}
	return errors.Join(err, removeTemporary(f.dir, f.temp))
}

// place makes something by make under a temporary name, and renames it.
func place(dir *os.File, name string, make func(temp string) error) (err error) {
	temp := temporaryName()
	// Also behind a rename: one to another link of the same file does nothing.
	defer func() { err = errors.Join(err, removeTemporary(dir, temp)) }()
	if err := make(temp); err != nil {
		return err
	}
	return rename(dir, temp, name)
}

func rename(dir *os.File, temp, name string) error {
	if err := CheckReplaceable(dir, name); err != nil {
		return err
	}
	if err := unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), name); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

// CheckReplaceable is an error unless a name is free, or that of a regular file
// or a symbolic link.
func CheckReplaceable(dir *os.File, name string) error {
	var stat unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at what is there: %w", err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK:
		return nil
	default:
		return fmt.Errorf("there is a %s already", TypeName(stat.Mode))
	}
}

func removeTemporary(dir *os.File, temp string) error {
	if err := unix.Unlinkat(int(dir.Fd()), temp, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove temporary file %s: %w", temp, err)
	}
	return nil
}

// openAt opens a name in a directory. Errors have no path.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// TypeName is what a file of a mode (st_mode of stat(2)) is called.
func TypeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "regular file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	default:
		return fmt.Sprintf("file of mode %#o", mode)
	}
}
