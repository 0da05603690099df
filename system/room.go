package system

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// awaitRoom fails if there is no room for the missing files, and gives those that
// are missing still. What others are writing takes room that this process does
// not need any more when they are done, so that it waits for them before it
// gives up.
func (in *installation) awaitRoom(ctx context.Context, d *datadir.Dir, items, missing []item, need int64) ([]item, error) {
	for {
		free, err := d.Free()
		if err != nil || need <= free {
			return missing, err
		}
		for _, item := range missing {
			if err := in.await(ctx, d, item); err != nil {
				return nil, err
			}
		}
		before := len(missing)
		if missing, need, err = missingOf(d, items); err != nil {
			return nil, err
		}
		if len(missing) == before {
			return nil, &StorageError{Path: d.Path("."), Need: need, Free: free, Err: syscall.ENOSPC}
		}
	}
}

// await waits until nobody is writing a file, and records it if it is there: one
// whose record does not fit is not missing.
func (in *installation) await(ctx context.Context, d *datadir.Dir, item item) (err error) {
	lock, err := d.Lock(ctx, lockName(item.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	_, err = in.check(ctx, d, item.name, wanted{sha256: item.file.SHA256})
	if _, corrupt := errors.AsType[*CorruptError](err); corrupt || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// missingOf gives the files that are not known to be right, and the bytes that
// they take while they are installed: each is copied once, next to what is
// there, and then renamed.
func missingOf(d *datadir.Dir, items []item) (missing []item, need int64, err error) {
	const block, documents = 4096, 64 << 10
	need = documents
	for _, it := range items {
		ok, err := recorded(d, it)
		if err != nil {
			return nil, 0, err
		}
		if !ok && !slices.ContainsFunc(missing, func(other item) bool { return other.name == it.name }) {
			missing = append(missing, it)
			need += (it.file.Size + block - 1) / block * block
		}
	}
	return missing, need, nil
}

// recorded reports whether the file is in place and its record says that it is
// right. Others may be at it, so that nothing follows if not.
func recorded(d *datadir.Dir, item item) (ok bool, err error) {
	file, err := d.Open(item.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	known, err := readRecord(d, item.name)
	if known == nil || err != nil {
		return false, err
	}
	var now record
	if err := now.describe(file); err != nil {
		return false, err
	}
	return known.Pinned && known.SHA256 == item.file.SHA256 && known.fits(&now), nil
}
