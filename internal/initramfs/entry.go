package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// File types, the S_IFMT bits of Entry.Mode as in stat(2).
const (
	TypeMask        = 0o170000
	TypeSocket      = 0o140000
	TypeSymlink     = 0o120000
	TypeRegular     = 0o100000
	TypeBlockDevice = 0o060000
	TypeDir         = 0o040000
	TypeCharDevice  = 0o020000
	TypePipe        = 0o010000
)

var types = []uint32{TypeSocket, TypeSymlink, TypeRegular, TypeBlockDevice, TypeDir, TypeCharDevice, TypePipe}

const (
	headerSize = 110
	// pathMax is PATH_MAX of the kernel, which counts the NUL at the end.
	pathMax = 4096
	// trailer is the name of the entry that ends an archive.
	trailer = "TRAILER!!!"
)

// Entry is one entry of an archive.
type Entry struct {
	Number  int // in the initrd, from 0, without trailers
	Segment int // its Segment.Index
	Archive int // in the initrd, from 0: hard links do not reach over a trailer

	Offset    int64  // of its header in the unpacked segment, in bytes
	Name      string // as the archive has it
	Mode      uint32 // type and permissions
	UID, GID  uint32
	Inode     uint32
	Nlink     uint32
	DevMajor  uint32 // with DevMinor and Inode, what hard links share
	DevMinor  uint32
	RdevMajor uint32 // what a device's driver goes by, with RdevMinor
	RdevMinor uint32
	ModTime   uint32 // in seconds since 1970
	Size      int64  // of its data or link target, in bytes
	Target    string // of a symbolic link
}

// archives reads entries until the segment ends: for a compressed one, that is
// the end of the data.
func (w *walker) archives(data *stream) error {
	segment := &w.segments[len(w.segments)-1]
	for {
		next, err := data.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return w.fail(nil, err)
		case next[0] == 0:
			if err := data.zeros(); err != nil {
				return w.fail(nil, err)
			}
			// Behind entries that are not compressed, they are the segment's padding.
			if segment.Compression != "" {
				if err := w.count(data); err != nil {
					return err
				}
			}
			continue
		case next[0] != '0' && segment.Compression == "":
			return nil // the next segment, if it is one
		case next[0] != '0':
			return w.fail(nil, fmt.Errorf("byte %#x at %d is no start of an entry", next[0], data.offset))
		case data.offset%4 != 0:
			return w.fail(nil, fmt.Errorf("entry at %d is at no multiple of 4 bytes", data.offset))
		}
		ended, err := w.entry(data)
		if err != nil {
			return err
		}
		if err := w.count(data); err != nil {
			return err
		}
		if ended && segment.Compression == "" {
			return nil
		}
	}
}

// count takes what was read as the segment's.
func (w *walker) count(data *stream) error {
	segment := &w.segments[len(w.segments)-1]
	w.unpacked += data.offset - segment.Size
	segment.Size = data.offset
	if w.unpacked > maxUnpacked {
		return w.fail(nil, fmt.Errorf("initrd unpacks to more than %d bytes", int64(maxUnpacked)))
	}
	return nil
}

// entry reads one entry and tells whether it is a trailer.
func (w *walker) entry(data *stream) (isTrailer bool, err error) {
	segment := &w.segments[len(w.segments)-1]
	entry := &Entry{Number: w.entries, Segment: segment.Index, Archive: w.archive, Offset: data.offset}
	header, err := data.full(headerSize)
	if err != nil {
		return false, w.fail(entry, fmt.Errorf("read header: %w", err))
	}
	nameSize, checksum, err := entry.parse(header)
	if err != nil {
		return false, w.fail(entry, err)
	}
	if err := entry.readName(data, nameSize); err != nil {
		return false, w.fail(entry, err)
	}
	if entry.Name == trailer {
		w.archive++
		return true, w.skip(data, entry, entry.Size)
	}
	if w.entries++; w.entries > maxEntries {
		return false, w.fail(entry, fmt.Errorf("initrd has more than %d entries", maxEntries))
	}
	segment.Entries++
	if err := entry.readTarget(data); err != nil {
		return false, w.fail(entry, err)
	}
	if w.names += len(entry.Name) + len(entry.Target); w.names > maxNames {
		return false, w.fail(entry, fmt.Errorf("names and link targets have more than %d bytes", maxNames))
	}
	body := &bodyReader{data: data, summing: checksum != nil}
	if entry.Mode&TypeMask == TypeRegular {
		body.left = entry.Size
	}
	if err := w.visit(entry, body); err != nil {
		if body.err != nil {
			return false, w.fail(entry, body.err)
		}
		return false, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return false, w.fail(entry, err)
	}
	if checksum != nil && entry.Mode&TypeMask == TypeRegular && *checksum != body.sum {
		return false, w.fail(entry, fmt.Errorf("checksum is %08x, want %08x", body.sum, *checksum))
	}
	return false, w.skip(data, entry, 0)
}

// parse reads a header: magic, then 13 numbers of 8 hexadecimal digits.
func (e *Entry) parse(header []byte) (nameSize int64, checksum *uint32, err error) {
	magic := string(header[:6])
	switch magic {
	case "070701", "070702":
	case "070707":
		return 0, nil, errors.New("archive has the old format of cpio, want newc")
	default:
		return 0, nil, fmt.Errorf("magic is %q, want 070701 or 070702", magic)
	}
	var fields [13]uint32
	for i := range fields {
		text := string(header[6+8*i:][:8])
		number, err := strconv.ParseUint(text, 16, 32)
		if err != nil || strings.HasPrefix(text, "+") {
			return 0, nil, fmt.Errorf("header has %q, want 8 hexadecimal digits", text)
		}
		fields[i] = uint32(number)
	}
	e.Inode, e.Mode, e.UID, e.GID, e.Nlink, e.ModTime = fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]
	e.Size = int64(fields[6])
	e.DevMajor, e.DevMinor, e.RdevMajor, e.RdevMinor = fields[7], fields[8], fields[9], fields[10]
	if magic == "070702" {
		checksum = &fields[12]
	}
	return int64(fields[11]), checksum, nil
}

// readName reads the name and the padding behind it. More than one NUL at its
// end is padding too: it brings the data to a boundary.
func (e *Entry) readName(data *stream, size int64) error {
	if size < 1 || size > pathMax {
		return fmt.Errorf("name has %d bytes, want 1 to %d with its NUL: the kernel would skip the entry", size, pathMax)
	}
	name, err := data.full(int(size))
	if err != nil {
		return fmt.Errorf("read name: %w", err)
	}
	text, rest, ended := bytes.Cut(name, []byte{0})
	e.Name = string(text)
	if !ended || len(bytes.TrimLeft(rest, "\x00")) > 0 {
		return errors.New("name does not end with its NUL")
	}
	if e.Name == "" {
		return errors.New("name is empty")
	}
	return align(data)
}

// readTarget reads a symbolic link's target and refuses other data than that of
// regular files.
func (e *Entry) readTarget(data *stream) error {
	kind := e.Mode & TypeMask
	switch {
	case kind == TypeSymlink:
		if e.Size < 1 || e.Size >= pathMax {
			return fmt.Errorf("link target has %d bytes, want 1 to %d: the kernel would skip it", e.Size, pathMax-1)
		}
		target, err := data.full(int(e.Size))
		if err != nil {
			return fmt.Errorf("read link target: %w", err)
		}
		e.Target = strings.TrimRight(string(target), "\x00")
		if e.Target == "" || strings.Contains(e.Target, "\x00") {
			return fmt.Errorf("link target %q has a NUL", target)
		}
		return nil
	case !slices.Contains(types, kind):
		return fmt.Errorf("type %#o is unknown: the kernel would skip it", kind)
	case kind == TypeRegular || e.Size == 0:
		return nil
	default:
		return fmt.Errorf("type %#o has %d bytes of data: the kernel would skip it", kind, e.Size)
	}
}

// skip passes over data and the padding to the next header.
func (w *walker) skip(data *stream, entry *Entry, size int64) error {
	if _, err := io.CopyN(io.Discard, data, size); err != nil {
		return w.fail(entry, err)
	}
	if err := align(data); err != nil {
		return w.fail(entry, err)
	}
	return nil
}

// align passes over padding. The kernel does not look at it.
func align(data *stream) error {
	if _, err := data.full(int(-data.offset & 3)); err != nil {
		return fmt.Errorf("read padding: %w", err)
	}
	return nil
}

// bodyReader reads an entry's data.
type bodyReader struct {
	data    *stream
	left    int64
	summing bool
	sum     uint32 // of all bytes, as cpio -H crc has it
	err     error  // the first one that is not the end
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.data.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.summing {
		for _, char := range p[:n] {
			b.sum += uint32(char)
		}
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		b.err = fmt.Errorf("read data: %w", err)
	}
	return n, b.err
}
