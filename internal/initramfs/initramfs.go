// Package initramfs reads initrds as the kernel does: a concatenation of cpio
// archives, some of them compressed.
//
// Sources: Documentation/driver-api/early-userspace/buffer-format.rst of the
// kernel for the format, init/initramfs.c for what the kernel does with it. What
// the kernel skips without a word is an error here: a name or link target that
// is too long, data of something that has none, a file without its folder.
//
// It is the independent check of tools/internal/newc, which writes archives: the
// two share no code. It reads untrusted files in small memory, in one pass.
package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// maxEntries bounds the entries of an initrd.
	maxEntries = 1 << 20
	// maxNames bounds the bytes of all names and link targets.
	maxNames = 256 << 20
	// maxUnpacked bounds the bytes of an initrd when unpacked.
	maxUnpacked = 16 << 30
	// maxSegments bounds the segments of an initrd.
	maxSegments = 1 << 12
)

// Segment is a part of an initrd: a run of entries that are not compressed, up
// to the trailer of their archive if they have one, or one compressed stream,
// whatever it holds.
type Segment struct {
	Index       int
	Offset      int64  // in the initrd, in bytes
	StoredSize  int64  // in the initrd, in bytes, without the padding
	Padding     int64  // zeros behind it, in bytes
	Compression string // gzip, zstd, or ""
	Size        int64  // unpacked, in bytes
	Entries     int    // without trailers
}

// Walk reads an initrd of size bytes from its start to its end and calls visit
// for every entry but trailers. The body is that of a regular file, valid until
// visit returns, which need not read it. An error of visit ends the walk and is
// returned as it is; others name the segment and entry with their offsets.
func Walk(r io.ReaderAt, size int64, visit func(entry *Entry, body io.Reader) error) ([]Segment, error) {
	w := &walker{visit: visit}
	for offset := int64(0); offset < size; {
		padding, err := zeros(io.NewSectionReader(r, offset, size-offset))
		if err != nil {
			return nil, fmt.Errorf("read initrd at %d: %w", offset, err)
		}
		if len(w.segments) > 0 {
			w.segments[len(w.segments)-1].Padding += padding
		}
		offset += padding
		if offset == size {
			break
		}
		if len(w.segments) == maxSegments {
			return nil, fmt.Errorf("initrd has more than %d segments", maxSegments)
		}
		w.segments = append(w.segments, Segment{Index: len(w.segments), Offset: offset})
		stored, err := w.segment(io.NewSectionReader(r, offset, size-offset))
		if err != nil {
			return nil, err
		}
		offset += stored
	}
	if len(w.segments) == 0 {
		return nil, errors.New("initrd has no segment")
	}
	return w.segments, nil
}

// zeros counts the zeros that data starts with.
func zeros(data io.Reader) (int64, error) {
	reader := bufio.NewReader(data)
	for count := int64(0); ; count++ {
		char, err := reader.ReadByte()
		if errors.Is(err, io.EOF) || err == nil && char != 0 {
			return count, nil
		}
		if err != nil {
			return count, err
		}
	}
}

// walker is the state of a walk.
type walker struct {
	visit    func(*Entry, io.Reader) error
	segments []Segment // the last one is being read
	entries  int
	archive  int
	names    int
	unpacked int64
}

// segment reads one segment and gives its size in the initrd, in bytes.
func (w *walker) segment(data *io.SectionReader) (stored int64, err error) {
	segment := &w.segments[len(w.segments)-1]
	head := make([]byte, 2)
	if _, err := data.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, w.fail(nil, err)
	}
	if head[0] == '0' {
		// The kernel looks for an archive at multiples of 4 only.
		if segment.Offset%4 != 0 {
			return 0, w.fail(nil, errors.New("it is no multiple of 4 bytes from the start of the initrd"))
		}
		if err := w.archives(&stream{Reader: bufio.NewReaderSize(data, 64<<10)}); err != nil {
			return 0, err
		}
		segment.StoredSize = segment.Size
		return segment.StoredSize, nil
	}
	unpacked, err := decompress(data)
	if err != nil {
		return 0, w.fail(nil, err)
	}
	defer unpacked.close()
	segment.Compression = unpacked.compression
	if err := w.archives(&stream{Reader: bufio.NewReaderSize(unpacked.data, 64<<10)}); err != nil {
		return 0, err
	}
	segment.StoredSize = unpacked.stored()
	return segment.StoredSize, nil
}

// fail gives an error its place.
func (w *walker) fail(entry *Entry, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if entry != nil {
		err = fmt.Errorf("entry %q at %d: %w", entry.Name, entry.Offset, err)
	}
	segment := w.segments[len(w.segments)-1]
	return fmt.Errorf("read segment %d at %d: %w", segment.Index, segment.Offset, err)
}

// stream is the unpacked data of a segment.
type stream struct {
	*bufio.Reader
	offset int64 // of what comes next
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.offset += int64(n)
	return n, err
}

// zeros passes over the zeros that come next, as far as they are in memory.
func (s *stream) zeros() error {
	data, err := s.Peek(max(1, s.Buffered()))
	if err != nil {
		return err
	}
	n, err := s.Discard(len(data) - len(bytes.TrimLeft(data, "\x00")))
	s.offset += int64(n)
	return err
}

// full reads what must be there.
func (s *stream) full(size int) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(s, data)
	return data, err
}
