package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// magics are those of lib/decompress.c of the kernel.
var magics = map[string]string{
	"\x1f\x8b": "gzip",
	"\x1f\x9e": "gzip",
	"BZ":       "bzip2",
	"\x5d\x00": "lzma",
	"\xfd7":    "xz",
	"\x89L":    "lzo",
	"\x02\x21": "lz4",
	"\x28\xb5": "zstd",
}

// maxWindow is the largest window of zstd that the kernel takes, in bytes:
// lib/decompress_unzstd.c.
const maxWindow = 128 << 20

// unpacked is a compressed stream.
type unpacked struct {
	compression string
	data        io.Reader
	stored      func() int64 // its size in the initrd, when data has been read, in bytes
	close       func()
}

// decompress opens the stream that data starts with. As in the kernel, a stream
// is one gzip member or one zstd frame.
func decompress(data *io.SectionReader) (*unpacked, error) {
	head := make([]byte, 2)
	if _, err := data.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch compression := magics[string(head)]; compression {
	case "":
		return nil, fmt.Errorf("magic %x is neither of an archive nor of a compression", head)
	case "gzip":
		// It reads byte by byte and so not behind its end.
		counted := &byteCounter{Reader: bufio.NewReaderSize(data, 64<<10)}
		reader, err := gzip.NewReader(counted)
		if err != nil {
			return nil, fmt.Errorf("decompress gzip: %w", err)
		}
		reader.Multistream(false)
		return &unpacked{compression, named{reader, compression}, func() int64 { return counted.count }, func() {}}, nil
	case "zstd":
		size, err := frameSize(data)
		if err != nil {
			return nil, fmt.Errorf("read zstd frame: %w", err)
		}
		// The window is as large as the frame says, and no buffers are ahead of it.
		reader, err := zstd.NewReader(io.NewSectionReader(data, 0, size),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("decompress zstd: %w", err)
		}
		return &unpacked{compression, named{reader, compression}, func() int64 { return size }, reader.Close}, nil
	default:
		return nil, fmt.Errorf("it is compressed with %s, want gzip, zstd or nothing", compression)
	}
}

// named gives a decompressor's errors its name.
type named struct {
	io.Reader
	compression string
}

func (n named) Read(p []byte) (int, error) {
	count, err := n.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("decompress %s: %w", n.compression, err)
	}
	return count, err
}

// byteCounter counts the bytes that a decompressor took.
type byteCounter struct {
	*bufio.Reader
	count int64
}

func (c *byteCounter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count += int64(n)
	return n, err
}

func (c *byteCounter) ReadByte() (byte, error) {
	char, err := c.Reader.ReadByte()
	if err == nil {
		c.count++
	}
	return char, err
}

// frameSize is the size of the zstd frame that data starts with, in bytes: RFC
// 8878, 3.1.1. The decoder does not tell how much it reads.
func frameSize(data *io.SectionReader) (int64, error) {
	head := make([]byte, zstd.HeaderMaxSize)
	n, err := data.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var header zstd.Header
	if err := header.Decode(head[:n]); err != nil {
		return 0, err
	}
	if header.Skippable {
		return 0, errors.New("frame is one to skip")
	}
	offset := int64(header.HeaderSize)
	for last := false; !last; {
		block := make([]byte, 3)
		if n, err := data.ReadAt(block, offset); n < len(block) {
			return 0, fmt.Errorf("read block at %d: %w", offset, err)
		}
		bits := int64(block[0]) | int64(block[1])<<8 | int64(block[2])<<16
		last = bits&1 != 0
		size := bits >> 3
		switch kind := bits >> 1 & 3; kind {
		case 1: // one byte, repeated
			size = 1
		case 3:
			return 0, fmt.Errorf("block at %d has the reserved type", offset)
		}
		offset += int64(len(block)) + size
	}
	if header.HasCheckSum {
		offset += 4
	}
	if offset > data.Size() {
		return 0, fmt.Errorf("frame of %d bytes is cut at %d", offset, data.Size())
	}
	return offset, nil
}
