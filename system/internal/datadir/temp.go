package datadir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Temp is a file that is being written. It is locked, so that others see that
// its owner lives; when the owner dies, the next Sweep removes it.
type Temp struct {
	dir  *Dir
	name string
	file *os.File // nil when it is committed or discarded
}

// linkSuffix marks what cannot be locked itself, links: they live as long as
// the temporary file of the name before it.
const linkSuffix = ".link"

// Temp makes a temporary file.
func (d *Dir) Temp() (*Temp, error) {
	for {
		if err := d.MkdirAll(temps); err != nil {
			return nil, err
		}
		t, err := d.temp(path.Join(temps, strings.ToLower(rand.Text())))
		// Between being made and being locked it looks like one without an owner.
		if t != nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
}

func (d *Dir) temp(name string) (t *Temp, err error) {
	if err := d.step("create", name); err != nil {
		return nil, err
	}
	file, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, d.named("create", name, err)
	}
	defer func() {
		if t == nil {
			err = errors.Join(err, file.Close())
		}
	}()
	held, err := d.flock(file, name, true)
	if err != nil || !held {
		return nil, err
	}
	return &Temp{dir: d, name: name, file: file}, nil
}

// Reserve takes room for a file of size bytes, so that a full disk shows before
// anything is copied. A file system that cannot is no error.
func (t *Temp) Reserve(size int64) error {
	if size == 0 {
		return nil
	}
	if err := t.dir.step("reserve", t.name); err != nil {
		return err
	}
	const keepSize = 1
	err := syscall.Fallocate(int(t.file.Fd()), keepSize, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return t.dir.named("reserve", t.name, err)
}

// Write appends to the file.
func (t *Temp) Write(data []byte) (int, error) {
	if err := t.dir.step("write", t.name); err != nil {
		return 0, err
	}
	n, err := t.file.Write(data)
	return n, t.dir.named("write", t.name, err)
}

// Clone makes the file share the blocks of another and reports whether the file
// system can.
func (t *Temp) Clone(from *os.File) (bool, error) {
	if err := t.dir.step("clone", t.name); err != nil {
		return false, err
	}
	const ficlone = 0x40049409 // FICLONE of linux/fs.h
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, t.file.Fd(), ficlone, from.Fd())
	return errno == 0, nil
}

// ReadAt reads what was written.
func (t *Temp) ReadAt(data []byte, offset int64) (int, error) { return t.file.ReadAt(data, offset) }

// Sync writes the file to the disk.
func (t *Temp) Sync() error {
	if err := t.dir.step("fsync", t.name); err != nil {
		return err
	}
	return t.dir.named("fsync", t.name, t.file.Sync())
}

// Commit gives the file its mode and its name. The caller syncs the file
// before, and the folder afterwards.
func (t *Temp) Commit(name string, mode fs.FileMode) error {
	if err := t.dir.step("chmod", t.name); err != nil {
		return err
	}
	if err := t.file.Chmod(mode); err != nil {
		return t.dir.named("chmod", t.name, err)
	}
	if err := t.dir.Move(t.name, name); err != nil {
		return err
	}
	file := t.file
	t.file = nil
	return file.Close()
}

// Discard removes the file unless it was committed.
func (t *Temp) Discard() error {
	if t.file == nil {
		return nil
	}
	file := t.file
	t.file = nil
	// Not by way of the fault: a process that cannot write any more still cleans.
	link := t.dir.root.Remove(t.name + linkSuffix)
	if errors.Is(link, fs.ErrNotExist) {
		link = nil
	}
	err := t.dir.root.Remove(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(t.dir.named("remove", t.name+linkSuffix, link), t.dir.named("remove", t.name, err), file.Close())
}

// WriteFile puts a file in place, complete or not at all.
func (d *Dir) WriteFile(name string, data []byte, mode fs.FileMode) (err error) {
	t, err := d.Temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Discard()) }()
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	return t.Commit(name, mode)
}

// Symlink puts a symbolic link to a neighbour in place of what is there: who
// reads it sees the old one or the new one.
func (d *Dir) Symlink(target, name string) error {
	return d.replace(name, func(temp string) error {
		return d.named("symlink", name, d.root.Symlink(target, temp))
	})
}

// Link puts a second name of a file in place of what is there.
func (d *Dir) Link(from, name string) error {
	return d.replace(name, func(temp string) error {
		return d.named("link", name, d.root.Link(from, temp))
	})
}

// LinkFile puts a second name of an open file from elsewhere in place, and
// reports whether the file system can. Its bytes are on the disk then.
func (d *Dir) LinkFile(file *os.File, name string) (linked bool, err error) {
	if err := file.Sync(); err != nil {
		return false, err
	}
	// A link of a link would be a link.
	from, err := filepath.EvalSymlinks(file.Name())
	if err != nil {
		return false, err
	}
	err = d.replace(name, func(temp string) error {
		err := os.Link(from, d.Path(temp))
		for _, errno := range []syscall.Errno{syscall.EXDEV, syscall.EPERM, syscall.EMLINK, syscall.EOPNOTSUPP} {
			if errors.Is(err, errno) {
				return errNoLink
			}
		}
		if err != nil {
			return d.named("link", name, err)
		}
		opened, err := file.Stat()
		if err != nil {
			return err
		}
		if named, err := d.root.Lstat(temp); err != nil || !os.SameFile(opened, named) {
			return fmt.Errorf("link %s: %s is another file now", d.Path(name), from)
		}
		return nil
	})
	if err == errNoLink {
		return false, nil
	}
	return err == nil, err
}

var errNoLink = errors.New("the file system has no such links")

func (d *Dir) replace(name string, link func(temp string) error) (err error) {
	owner, err := d.Temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, owner.Discard()) }()
	if err := d.step("link", name); err != nil {
		return err
	}
	temp := owner.name + linkSuffix
	if err := link(temp); err != nil {
		return err
	}
	if err := d.Move(temp, name); err != nil {
		return err
	}
	return d.SyncDir(path.Dir(name))
}

// Sweep removes temporary files and locks whose owners are gone, and no others.
func (d *Dir) Sweep() error {
	for _, folder := range []string{temps, locks} {
		names, err := d.List(folder)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := d.sweep(path.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dir) sweep(name string) error {
	owner := strings.TrimSuffix(name, linkSuffix)
	l, err := d.tryLock(owner, true, false)
	if err != nil {
		return err
	}
	if l != nil {
		// Links first: without the owner's file nothing would tell whose they are.
		return errors.Join(d.Remove(owner+linkSuffix), l.Unlock())
	}
	if owner == name {
		return nil
	}
	if _, err := d.root.Lstat(owner); errors.Is(err, fs.ErrNotExist) {
		return d.Remove(name)
	}
	return nil
}
