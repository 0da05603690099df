// Package diskcache keeps the root disks of images between machines, and the
// documents that say which disk an image has, in one folder of one user:
//
//	disks/ID/root.ext4    a disk; ID is rootfs.Image.DiskID
//	disks/ID/record.json  what is known of it; without it, the disk is not complete
//	documents/            manifests and configurations by their digests
//
// Several machines share a disk, which is never written to again. Processes may
// share the folder at any time: each disk's folder is locked with flock(2),
// exclusively by who makes or removes it, shared by the processes of the machines
// that use it. All of it can be made again, so it is safe to remove.
//
// The package does not make disks and asks no registry.
package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	disksFolder     = "disks"
	documentsFolder = "documents"
	diskFile        = "root.ext4"
	recordFile      = "record.json"

	// attempts bound how often a disk can go away between two locks, or not be as
	// it was written.
	attempts = 5
)

// Cache is a folder with disks and documents. It makes the folder when it needs
// it.
type Cache struct {
	// Dir is the folder.
	Dir string
	// Size is up to how many bytes of the file system disks may occupy. When one
	// is made, those go that have not been used for the longest, but never the new
	// one, nor one of a running machine.
	Size int64
}

// Disk is a disk that stays until Close.
type Disk struct {
	Path string
	lock *os.File
}

// Close lets others remove the disk.
func (d *Disk) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("release disk: %w", err)
	}
	return nil
}

// Disk gives the disk of an ID, which write makes at a path if there is none. Of
// several processes that ask for it, one makes it and the others wait, until ctx
// ends.
//
// A disk whose size, inode and times of modification and change are those that
// were recorded is not read again, as no write leaves all of them; any other must
// have the recorded digest, and is made anew if it has not.
func (c *Cache) Disk(ctx context.Context, id string, write func(path string) error) (_ *Disk, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("get disk from cache %s: %w", c.Dir, err)
		}
	}()
	dir := filepath.Join(c.Dir, disksFolder, id)
	for range attempts {
		disk, err := find(ctx, dir)
		if disk != nil || err != nil {
			return disk, err
		}
		if err := c.make(ctx, dir, write); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: it does not stay as it is written", dir)
}

// find gives the disk of a folder, or nil where it is missing or damaged.
func find(ctx context.Context, dir string) (_ *Disk, err error) {
	lock, err := lockFolder(ctx, dir, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	isThere, err := check(ctx, dir)
	if isThere && err == nil {
		now := time.Now()
		// It says when the disk was used last.
		err = os.Chtimes(filepath.Join(dir, recordFile), now, now)
	}
	if !isThere || err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Disk{filepath.Join(dir, diskFile), lock}, nil
}

// make makes the disk of a folder, unless another process has done it.
func (c *Cache) make(ctx context.Context, dir string, write func(path string) error) (err error) {
	lock, err := lockFolder(ctx, dir, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if isThere, err := check(ctx, dir); isThere || err != nil {
		return err
	}
	if err := empty(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, diskFile)
	if err := write(path); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := writeRecord(ctx, dir); err != nil {
		return err
	}
	return c.trim(dir)
}

// empty removes what a killed process left, and a damaged disk.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// lockFolder makes a folder and locks it. Who removes a folder holds its lock, so
// that the one that was locked may be another than the one that is there.
func lockFolder(ctx context.Context, dir string, how int) (*os.File, error) {
	// A blocking flock could not be given up when the context ends.
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		lock, err := tryLock(dir, how)
		if lock != nil || err != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock of %s: %w", dir, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// tryLock gives nil if others have a lock that is in the way.
func tryLock(dir string, how int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), how|unix.LOCK_NB)
	if err == nil {
		var isSame bool
		if isSame, err = isFolder(lock, dir); isSame {
			return lock, nil
		}
	}
	if err == unix.EWOULDBLOCK || err == unix.EINTR {
		err = nil
	}
	return nil, errors.Join(err, lock.Close())
}

// isFolder tells whether an open folder is still the one of that name.
func isFolder(folder *os.File, dir string) (bool, error) {
	opened, err := folder.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, named), err
}
