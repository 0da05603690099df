package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// snapshotBlock is the size of what is copied and hashed if it is not all zeros,
// in bytes. A disk is mostly holes, and to hash those takes seconds.
const snapshotBlock = 64 << 10

// copySparse copies a file to a new one, where target is not empty, and leaves
// out what is all zeros. It describes the bytes that it has read.
func copySparse(ctx context.Context, target, source string) (file snapshotFile, err error) {
	from, err := os.Open(source)
	if err != nil {
		return snapshotFile{}, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	info, err := from.Stat()
	if err != nil {
		return snapshotFile{}, err
	}
	if !info.Mode().IsRegular() {
		return snapshotFile{}, fmt.Errorf("%s is no regular file", source)
	}
	sum := sha256.New()
	hash := func(at int64, block []byte) error {
		_, err := sum.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
		if err == nil {
			_, err = sum.Write(block)
		}
		return err
	}
	if target == "" {
		err = eachBlock(ctx, from, info.Size(), hash)
	} else {
		err = writeSparse(target, info.Size(), func(to *os.File) error {
			return eachBlock(ctx, from, info.Size(), func(at int64, block []byte) error {
				if _, err := to.WriteAt(block, at); err != nil {
					return err
				}
				return hash(at, block)
			})
		})
	}
	if err != nil {
		return snapshotFile{}, fmt.Errorf("copy %s: %w", source, err)
	}
	return snapshotFile{File: filepath.Base(target), Size: info.Size(), Digest: hex.EncodeToString(sum.Sum(nil))}, nil
}

// writeSparse makes a file that is one hole, has write fill it and the disk take
// it.
func writeSparse(name string, size int64, write func(*os.File) error) (err error) {
	to, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := to.Truncate(size); err != nil {
		return err
	}
	if err := write(to); err != nil {
		return err
	}
	return to.Sync()
}

// eachBlock gives the blocks of a file that are not all zeros, in their order.
func eachBlock(ctx context.Context, from *os.File, size int64, do func(at int64, block []byte) error) error {
	buffer, zeros := make([]byte, snapshotBlock), make([]byte, snapshotBlock)
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // there is none behind it
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = data - data%snapshotBlock; at < hole; at += snapshotBlock {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			block := buffer[:min(snapshotBlock, size-at)]
			if _, err := from.ReadAt(block, at); err != nil {
				return err
			}
			if bytes.Equal(block, zeros[:len(block)]) {
				continue
			}
			if err := do(at, block); err != nil {
				return err
			}
		}
	}
	return nil
}
