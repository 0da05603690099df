// Package newc writes archives in the "newc" format of cpio (SVR4 without
// checksum, magic 070701), the format of an initramfs.
//
// Sources: Documentation/driver-api/early-userspace/buffer-format.rst of the
// kernel for the format, init/initramfs.c for what the kernel really does with
// it. The kernel skips what it cannot take without a word, so everything that
// it would skip is an error here, and what it would change too. Package kerneltest
// boots a kernel on both.
//
// A Writer remembers no names. That a directory comes before what is in it and no
// path comes twice is its caller's part: a tree of internal/fstree has that order
// and each path once. Of a path that comes twice, in one archive or in
// concatenated ones, the kernel has the last; what has no directory, it skips.
//
// The package is ours because the format is smaller than a guard around the
// traps of github.com/cavaliergopher/cpio v1.0.1 would be: it never writes link
// targets by itself, loses the type of a set-user-ID file given without it,
// changes the magic number of the whole process when one header has a checksum,
// and changes its caller's headers. Its reader is sound and reads in our tests what
// internal/initramfs reads too.
//
// There is no reader here, and no compression.
package newc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// File types, the S_IFMT bits of a mode as in stat(2).
const (
	TypeMask    = 0o170000
	TypeRegular = 0o100000
	TypeDir     = 0o040000
	TypeSymlink = 0o120000
)

// Alignment is of what headers and bodies start at multiples, in bytes. Where
// archives are concatenated, the next one has to start at one too.
const Alignment = 4

const (
	// pathMax is PATH_MAX of the kernel, which counts the NUL at the end.
	pathMax = 4096
	// nameMax is NAME_MAX of the kernel, for what is between two slashes.
	nameMax = 255
	// noID stands for "leave it" in chown(2), and the kernel's new files are root's.
	noID = math.MaxUint32
	// trailer is the name of the entry that ends an archive.
	trailer = "TRAILER!!!"
	// headerSize is in bytes: the magic number and 13 fields.
	headerSize = 6 + 13*8
)

// Header describes an entry. Times and device numbers are always 0: times make
// an archive differ for nothing, and devtmpfs brings the devices.
type Header struct {
	// Name is the path from the root: no leading slash, and no component that is
	// empty, "." or "..". The root itself is ".".
	Name string
	// Mode is type and permissions; the type is one of Regular, Dir, Symlink. The
	// kernel gives all symbolic links the permissions 0777.
	Mode uint32
	UID  uint32
	GID  uint32
	// Inode numbers the file; 0 takes the entry's number in the archive, from 1.
	// The kernel makes hard links of regular files with the same Inode and an
	// Nlink of 2 or more. It forgets inodes at the end of an archive, so the
	// numbers of concatenated archives may overlap.
	Inode uint32
	Nlink uint32 // names of the inode; at least 1
	// Size is that of the body: a file's content, a symbolic link's target. Of
	// several hard links only the last one has the content, the others have
	// size 0. The kernel would take it with any of them (init/initramfs.c,
	// do_name), other readers only with the last.
	Size int64
}

// EntrySize is how many bytes an entry takes in an archive, with its body.
func EntrySize(h Header) int64 {
	head := int64(headerSize + len(h.Name) + 1)
	return head + int64(padding(head)) + h.Size + int64(padding(h.Size))
}

// EndSize is how many bytes Close writes, in an archive that is at the end of an
// entry.
func EndSize() int64 { return EntrySize(Header{Name: trailer}) }

// Writer writes an archive. A header comes in one call of the underlying
// writer, so put a bufio.Writer there when files are small. After an error all
// methods return it: the archive is broken.
type Writer struct {
	w       io.Writer
	entries uint32
	current Header
	left    int64 // bytes of the current body that are still to come
	pad     int   // zeros behind the current body
	buf     []byte
	err     error
}

// NewWriter returns a Writer. Close it to end the archive.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, buf: make([]byte, 0, 256)}
}

var errClosed = errors.New("archive is closed")

// WriteHeader ends the current entry and starts another. The body follows
// through Write.
func (w *Writer) WriteHeader(header Header) error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := check(header); err != nil {
		return w.fail(fmt.Errorf("write entry %.200q: %w", header.Name, err))
	}
	w.entries++
	if header.Inode == 0 {
		header.Inode = w.entries
	}
	return w.start(header)
}

// check finds what the format cannot hold and what the kernel would skip or
// change.
func check(h Header) error {
	if err := checkName(h.Name); err != nil {
		return err
	}
	kind := h.Mode & TypeMask
	switch {
	case kind != TypeRegular && kind != TypeDir && kind != TypeSymlink:
		return fmt.Errorf("mode %#o is not of a file, directory or symbolic link", h.Mode)
	case h.Mode > 0o177777:
		return fmt.Errorf("mode %#o is out of range", h.Mode)
	case h.Nlink == 0:
		return errors.New("link count is 0")
	case h.Size < 0 || h.Size > math.MaxUint32:
		return fmt.Errorf("size %d is out of range", h.Size)
	case h.UID == noID || h.GID == noID:
		return fmt.Errorf("owner %d:%d is out of range: the kernel would take root", h.UID, h.GID)
	case h.Name == "." && kind != TypeDir:
		return errors.New("root is not a directory")
	case kind == TypeDir && h.Size != 0:
		return fmt.Errorf("directory has size %d", h.Size)
	case kind == TypeSymlink && (h.Size == 0 || h.Size >= pathMax):
		return fmt.Errorf("link target has %d bytes, want 1 to %d", h.Size, pathMax-1)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case name[0] == '/':
		return errors.New("name is absolute")
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("name contains NUL")
	case len(name) >= pathMax:
		return fmt.Errorf("name has %d bytes, more than %d", len(name), pathMax-1)
	case name == trailer:
		return errors.New("name marks the end of an archive")
	case name == ".":
		return nil
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("name has component %q", part)
		case len(part) > nameMax:
			return fmt.Errorf("name has a component of %d bytes, more than %d", len(part), nameMax)
		}
	}
	return nil
}

// start writes the header, the name and the zeros behind it.
func (w *Writer) start(h Header) error {
	b := append(w.buf[:0], "070701"...)
	for _, field := range [...]uint32{
		h.Inode, h.Mode, h.UID, h.GID, h.Nlink,
		0, // time
		uint32(h.Size),
		0, 0, // device of the file system
		0, 0, // device that the file is
		uint32(len(h.Name) + 1),
		0, // checksum, of magic 070702 only
	} {
		b = appendHex(b, field)
	}
	b = append(b, h.Name...)
	b = append(b, 0)
	b = append(b, zeros[:padding(int64(len(b)))]...)
	w.buf = b[:0]
	if _, err := w.w.Write(b); err != nil {
		return w.fail(fmt.Errorf("write entry %.200q: %w", h.Name, err))
	}
	w.current, w.left, w.pad = h, h.Size, padding(h.Size)
	return nil
}

var zeros [4]byte

// padding is how many bytes are missing to a multiple of Alignment.
func padding(n int64) int { return int(-n & (Alignment - 1)) }

func appendHex(b []byte, v uint32) []byte {
	const digits = "0123456789ABCDEF"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&0xf])
	}
	return b
}

// Write writes bytes of the current body.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.left {
		return 0, w.fail(fmt.Errorf("write entry %.200q: body is longer than %d bytes", w.current.Name, w.current.Size))
	}
	if w.current.Mode&TypeMask == TypeSymlink && bytes.IndexByte(p, 0) >= 0 {
		return 0, w.fail(fmt.Errorf("write entry %.200q: link target contains NUL", w.current.Name))
	}
	n, err := w.w.Write(p)
	w.left -= int64(n)
	if err != nil {
		return n, w.fail(fmt.Errorf("write entry %.200q: %w", w.current.Name, err))
	}
	return n, nil
}

// Flush ends the current entry. An archive can be written in parts, each by a
// Writer of its own; all but the one of the last part are flushed in place of
// closed. Their headers have to say the Inode.
func (w *Writer) Flush() error { return w.finish() }

// Close writes the end of the archive. It does not close the underlying writer.
// The length is a multiple of 4, so that another archive, compressed or not,
// may follow; the kernel needs no more than that.
func (w *Writer) Close() error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := w.start(Header{Name: trailer, Nlink: 1}); err != nil {
		return err
	}
	w.err = errClosed
	return nil
}

// finish ends the current entry.
func (w *Writer) finish() error {
	if w.err != nil {
		return w.err
	}
	if w.left > 0 {
		return w.fail(fmt.Errorf("write entry %.200q: body is %d bytes short of %d", w.current.Name, w.left, w.current.Size))
	}
	if w.pad > 0 {
		if _, err := w.w.Write(zeros[:w.pad]); err != nil {
			return w.fail(fmt.Errorf("write entry %.200q: %w", w.current.Name, err))
		}
		w.pad = 0
	}
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}
