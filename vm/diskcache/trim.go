package diskcache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// entry is the folder of a disk.
type entry struct {
	dir   string
	bytes int64     // that it occupies
	used  time.Time // zero if the disk is not complete
}

// trim removes the disks that have not been used for the longest, until the rest
// fits, and what killed processes left. The folder latest stays, and so does what
// somebody has locked.
func (c *Cache) trim(latest string) error {
	folders, err := os.ReadDir(filepath.Join(c.Dir, disksFolder))
	if err != nil {
		return err
	}
	var entries []entry
	var total int64
	for _, folder := range folders {
		e := entry{dir: filepath.Join(c.Dir, disksFolder, folder.Name())}
		if err := e.measure(); err != nil {
			return err
		}
		total += e.bytes
		if e.dir != latest {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.dir, b.dir))
	})
	for _, e := range entries {
		if total <= c.Size && !e.used.IsZero() {
			return nil
		}
		isGone, err := e.remove()
		if err != nil {
			return err
		}
		if isGone {
			total -= e.bytes
		}
	}
	return nil
}

// measure fills in how large the disk is and when it was used.
func (e *entry) measure() error {
	var stat unix.Stat_t
	const block = 512 // of st_blocks: inode(7)
	switch err := unix.Stat(filepath.Join(e.dir, diskFile), &stat); err {
	case nil:
		e.bytes = stat.Blocks * block
	case unix.ENOENT:
	default:
		return &os.PathError{Op: "stat", Path: e.dir, Err: err}
	}
	info, err := os.Stat(filepath.Join(e.dir, recordFile))
	if err == nil {
		e.used = info.ModTime()
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// remove removes the folder unless somebody has locked it.
func (e *entry) remove() (isGone bool, err error) {
	lock, err := tryLock(e.dir, unix.LOCK_EX)
	if lock == nil || err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return true, os.RemoveAll(e.dir)
}
