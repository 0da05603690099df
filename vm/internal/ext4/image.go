// Package ext4 writes ext4 images without root, loop devices or mkfs: a
// read-only one from a tar stream, and an empty writable one.
//
// Both use 4096-byte blocks. The package does not read or change images.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/google/renameio/v2"
)

const (
	blockSize = 4096

	// MaxTarImage is the largest image that FromTar writes. The converter
	// keeps room for the block group descriptors of that size: 64 KiB.
	MaxTarImage = 256 << 30
)

// FromTar writes a read-only ext4 image with the files of the tar stream that
// writeTar produces. The stream holds every path once, directories before what
// is in them and hard links behind their targets. The file at path appears complete or not at all; it is made
// sparse up to minSize where the files need less, and its size is a multiple
// of the block size.
//
// The bytes depend on the stream alone: the UUID is zero and no clock is read.
// Beside the stream's files the root holds lost+found, which e2fsck asks for.
// The image has no journal, and the read-only feature (EXT4_FEATURE_RO_COMPAT_READONLY
// in fs/ext4/ext4.h) makes Linux refuse to mount it read-write.
func FromTar(path string, perm os.FileMode, minSize int64, writeTar func(io.Writer) error) error {
	return create(path, perm, func(f *os.File) error {
		if err := convert(f, writeTar); err != nil {
			return err
		}
		if err := padInodeBitmaps(f); err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		minSize := roundUp(minSize, blockSize)
		if info.Size() >= minSize {
			return nil
		}
		return f.Truncate(minSize)
	})
}

// convert runs writeTar and the converter at the two ends of a pipe. It
// returns the errors of both, or only the cause where one led to the other.
func convert(f *os.File, writeTar func(io.Writer) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeTar(w)
		w.CloseWithError(err)
		written <- err
	}()
	err := tar2ext4.ConvertTarToExt4(newTarFilter(r), f, tar2ext4.MaximumDiskSize(MaxTarImage))
	if err == nil {
		// A tar reader stops at the trailer. What the producer says
		// behind it counts too.
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		// A value of its own, which writeErr is only if it comes from here.
		err = fmt.Errorf("convert tar to ext4: %w", err)
	}
	r.CloseWithError(err)
	writeErr := <-written
	switch {
	case writeErr == nil || err != nil && errors.Is(writeErr, err):
		return err
	case errors.Is(err, writeErr):
		err = nil
	}
	return errors.Join(fmt.Errorf("write tar: %w", writeErr), err)
}

// padInodeBitmaps sets the bits behind the last inode of every group, which the
// converter leaves clear and e2fsck reports.
func padInodeBitmaps(f *os.File) error {
	var super superBlock
	if err := readAt(f, superOffset, &super); err != nil {
		return fmt.Errorf("read super block: %w", err)
	}
	descs := make([]groupDesc, super.Inodes/super.InodesPerGroup)
	if err := readAt(f, blockSize, descs); err != nil {
		return fmt.Errorf("read group descriptors: %w", err)
	}
	for _, d := range descs {
		bitmap := make([]byte, blockSize)
		at := int64(d.InodeBitmap) * blockSize
		if _, err := f.ReadAt(bitmap, at); err != nil {
			return fmt.Errorf("read inode bitmap: %w", err)
		}
		setBits(bitmap, super.InodesPerGroup, 8*blockSize)
		if _, err := f.WriteAt(bitmap, at); err != nil {
			return fmt.Errorf("write inode bitmap: %w", err)
		}
	}
	return nil
}

func readAt(r io.ReaderAt, offset int64, data any) error {
	return binary.Read(io.NewSectionReader(r, offset, int64(binary.Size(data))), binary.LittleEndian, data)
}

// create makes path appear with what write puts into it, or not at all:
// temporary file in the same directory, fsync, rename, fsync of the directory.
func create(path string, perm os.FileMode, write func(*os.File) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create ext4 image %q: %w", path, err)
		}
	}()
	dir := filepath.Dir(path)
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(perm))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pending.Cleanup()) }()
	if err := write(pending.File); err != nil {
		return err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
