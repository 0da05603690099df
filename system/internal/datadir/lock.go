package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// Lock is a lock among processes and goroutines. It ends with its process.
type Lock struct {
	dir       *Dir
	name      string
	file      *os.File
	exclusive bool
}

// Lock waits for a lock that nobody else holds at the same time.
func (d *Dir) Lock(ctx context.Context, name string) (*Lock, error) { return d.lock(ctx, name, true) }

// LockShared waits for a lock that others may hold too, but none exclusively.
func (d *Dir) LockShared(ctx context.Context, name string) (*Lock, error) {
	return d.lock(ctx, name, false)
}

func (d *Dir) lock(ctx context.Context, name string, exclusive bool) (*Lock, error) {
	if err := d.MkdirAll(locks); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// A blocking flock could not be given up when the context ends.
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		}
		l, err := d.tryLock(path.Join(locks, name), exclusive, true)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// TryLock takes an exclusive lock, or gives nil if somebody holds it.
func (d *Dir) TryLock(name string) (*Lock, error) {
	if err := d.MkdirAll(locks); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	l, err := d.tryLock(path.Join(locks, name), true, true)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return l, nil
}

// tryLock gives nil where the lock is held, and where its file was removed
// between opening and locking: then it locks nothing that others could see.
func (d *Dir) tryLock(name string, exclusive, create bool) (l *Lock, err error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
		if _, err := d.root.Lstat(name); err != nil {
			if err := d.step("create", name); err != nil {
				return nil, err
			}
		}
	}
	if err := d.plain(name); err != nil {
		return nil, err
	}
	file, err := d.openFile(name, flags, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if l == nil {
			err = errors.Join(err, file.Close())
		}
	}()
	held, err := d.flock(file, name, exclusive)
	if err != nil || !held {
		return nil, err
	}
	return &Lock{dir: d, name: name, file: file, exclusive: exclusive}, nil
}

// flock locks an open file, and reports whether it did and the file still has
// its name.
func (d *Dir) flock(file *os.File, name string, exclusive bool) (bool, error) {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	var err error
	for {
		err = syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err == syscall.EWOULDBLOCK {
		return false, nil
	}
	if err != nil {
		return false, d.named("flock", name, err)
	}
	opened, err := file.Stat()
	if err != nil {
		return false, err
	}
	named, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, d.named("stat", name, err)
	}
	return os.SameFile(opened, named), nil
}

// Unlock gives the lock back. The file of an exclusive one goes with it: who
// waits for it sees that and makes another.
func (l *Lock) Unlock() error {
	var err error
	if l.exclusive {
		err = l.dir.named("remove", l.name, l.dir.root.Remove(l.name))
	}
	return errors.Join(err, l.file.Close())
}

// Hold locks a file that is there, shared, until the returned file is closed.
// Unlike a lock it needs no right to write. fs.ErrNotExist is in the chain of the
// error if the file is not there or goes away meanwhile.
func (d *Dir) Hold(ctx context.Context, name string) (*os.File, error) {
	for {
		file, err := d.Open(name)
		if err != nil {
			return nil, err
		}
		held, err := d.flock(file, name, false)
		if held {
			return file, nil
		}
		// Somebody claims it, to remove it or to see whether it could.
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// Claim locks a file that is there, exclusively, until the returned file is
// closed. It gives nil if somebody holds it.
func (d *Dir) Claim(name string) (*os.File, error) {
	file, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	held, err := d.flock(file, name, true)
	if err != nil || !held {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
