package fstree

import (
	"errors"
	"fmt"
)

// ErrLimit is in the chain of every error that comes from Limits.
var ErrLimit = errors.New("limit exceeded")

// Limits bounds the work and the space that layers can cause. A manifest
// bounds only the compressed size of a layer, and 64 KiB of gzip can be 64 MiB
// of zeros.
type Limits struct {
	// Entries is how many entries of any type the layers and the builder may
	// bring in all, counting directories that are made because they are missing.
	Entries int
	// TotalBytes is how many bytes the uncompressed layers, headers included,
	// and placed files may have in all, and with it each of them. It bounds the
	// temporary file.
	TotalBytes int64
	// FileBytes is the size of one file.
	FileBytes int64
	// MetaBytes is how many bytes names, link targets and extended attributes
	// may have in all. It bounds the memory together with Entries.
	MetaBytes int64
	// PathBytes is the length of a path and of a link target. The kernel takes
	// no longer one: PATH_MAX is 4096 with the NUL at the end.
	PathBytes int
	// NameBytes is the length of one path component, NAME_MAX of the kernel.
	NameBytes int
	// Ratio is how many bytes one compressed byte of a layer may become. It
	// counts from RatioFreeBytes on: a small layer may well be all zeros.
	Ratio, RatioFreeBytes int64
	// WindowBytes is the window that a zstd frame may ask for, which is memory.
	WindowBytes uint64
}

// DefaultLimits are wide enough for images of several gigabytes.
func DefaultLimits() Limits {
	return Limits{
		Entries:        1 << 20,
		TotalBytes:     16 << 30,
		FileBytes:      8 << 30,
		MetaBytes:      256 << 20,
		PathBytes:      4095,
		NameBytes:      255,
		Ratio:          200,
		RatioFreeBytes: 64 << 20,
		WindowBytes:    64 << 20,
	}
}

func (Limits) exceeded(what string, got, limit int64) error {
	return fmt.Errorf("%s: %d is more than %d: %w", what, got, limit, ErrLimit)
}

func (l Limits) checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("size %d is negative", size)
	}
	if size > l.FileBytes {
		return l.exceeded("file bytes", size, l.FileBytes)
	}
	return nil
}

func (t *Tree) count(entries int) error {
	t.entries += entries
	if t.entries > t.Limits.Entries {
		return t.Limits.exceeded("entries", int64(t.entries), int64(t.Limits.Entries))
	}
	return nil
}

func (t *Tree) countBytes(n int64) error {
	t.bytes += n
	if t.bytes > t.Limits.TotalBytes {
		return t.Limits.exceeded("total bytes", t.bytes, t.Limits.TotalBytes)
	}
	return nil
}

func (t *Tree) countMeta(n int) error {
	t.meta += int64(n)
	if t.meta > t.Limits.MetaBytes {
		return t.Limits.exceeded("bytes of names and attributes", t.meta, t.Limits.MetaBytes)
	}
	return nil
}
