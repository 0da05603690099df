package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copySparse copies a file to a new one, where target is not empty, and leaves
// out the holes. It describes the bytes that it has read.
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
	if target == "" {
		err = readSparse(ctx, from, info.Size(), sum, nil)
	} else {
		err = writeSparse(target, info.Size(), func(to *os.File) error {
			return readSparse(ctx, from, info.Size(), sum, to)
		})
	}
	if err != nil {
		return snapshotFile{}, fmt.Errorf("copy %s: %w", source, err)
	}
	return snapshotFile{File: filepath.Base(target), Size: info.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
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

// readSparse hashes a file, and copies what is in it to another, if there is one.
func readSparse(ctx context.Context, from *os.File, size int64, sum hash.Hash, to *os.File) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // there is none behind it
			data, err = size, nil
		}
		if err != nil {
			return err
		}
		if err := copyContext(ctx, sum, io.LimitReader(zeros{}, data-at)); err != nil {
			return err
		}
		if data == size {
			return nil
		}
		if at, err = unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		var w io.Writer = sum
		if to != nil {
			w = io.MultiWriter(sum, io.NewOffsetWriter(to, data))
		}
		if err := copyContext(ctx, w, io.NewSectionReader(from, data, at-data)); err != nil {
			return err
		}
	}
	return nil
}

// zeros reads as a hole does.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// copyContext copies until the context ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buffer := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buffer)
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
