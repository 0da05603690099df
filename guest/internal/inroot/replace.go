package inroot

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// ReplaceFile makes name a regular file with the content, whatever had the name
// before: a link is replaced and not followed, a directory goes with all that
// is in it. Parents are made when missing. The file is there complete or not at
// all, but is not synced: what PID 1 writes it writes again on the next boot.
func (r *Root) ReplaceFile(name string, content []byte, mode uint32) (err error) {
	name = path.Clean("/" + name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s in the image: %w", name, err)
		}
	}()
	dir, base, err := r.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	temporary := temporaryName(base)
	if err := removeAll(dir, temporary); err != nil {
		return err
	}
	fd, err := unix.Openat(dir, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.Write(content)
	// The mode that the file was made with is less the umask.
	if err := errors.Join(err, unix.Fchmod(fd, mode), file.Close()); err != nil {
		return errors.Join(err, unix.Unlinkat(dir, temporary, 0))
	}
	return replace(dir, temporary, base)
}

// ReplaceLink makes name a symbolic link to target as ReplaceFile makes a file.
func (r *Root) ReplaceLink(name, target string) (err error) {
	name = path.Clean("/" + name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("link %s in the image: %w", name, err)
		}
	}()
	dir, base, err := r.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	temporary := temporaryName(base)
	if err := removeAll(dir, temporary); err != nil {
		return err
	}
	if err := unix.Symlinkat(target, dir, temporary); err != nil {
		return err
	}
	return replace(dir, temporary, base)
}

// RemoveAll removes name, a link and not what it leads to, and all below it. A
// mount there or below stays, and is an error. None of that name is no error.
func (r *Root) RemoveAll(name string) error {
	name = path.Clean("/" + name)
	dir, err := r.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s in the image: %w", path.Dir(name), err)
	}
	defer unix.Close(dir)
	if err := removeAll(dir, path.Base(name)); err != nil {
		return fmt.Errorf("remove %s in the image: %w", name, err)
	}
	return nil
}

// parent opens the directory that a clean name is in, made when missing.
func (r *Root) parent(name string) (dir int, base string, err error) {
	if name == "/" {
		return -1, "", unix.EISDIR
	}
	dir, err = r.EnsureDirectory(path.Dir(name))
	return dir, path.Base(name), err
}

// temporaryName is always the same, so that one a crash has left is found.
func temporaryName(base string) string { return "." + base + ".kindling" }

// replace renames over a name, whatever has it.
func replace(dir int, from, to string) error {
	err := unix.Renameat(dir, from, dir, to)
	if errors.Is(err, unix.EISDIR) {
		if err = removeAll(dir, to); err == nil {
			err = unix.Renameat(dir, from, dir, to)
		}
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(dir, from, 0))
	}
	return nil
}

// removeAll removes a name in an open directory. It follows no link and goes
// into no other mount: a volume's content is nobody's to remove.
func removeAll(dir int, name string) (err error) {
	err = unix.Unlinkat(dir, name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return err
	}
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	folder := os.NewFile(uintptr(fd), name)
	names, err := folder.Readdirnames(-1)
	for _, below := range names {
		err = errors.Join(err, removeAll(fd, below))
	}
	if err := errors.Join(err, folder.Close()); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
