package kernelimage

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Names of compressions, as in Info.Compression.
const (
	gzipped = "gzip"
	lz4ed   = "lz4"
	zstded  = "zstd"
)

// magics are of all compressions that a kernel's build knows. The xz of x86
// kernels has a filter that github.com/ulikunitz/xz v0.5.17 lacks, the others
// are out of use.
var magics = []struct {
	magic, compression string
	known              bool
}{
	{"\x1f\x8b", gzipped, true},
	{"\x02\x21\x4c\x18", lz4ed, true}, // legacy frame
	{"\x28\xb5\x2f\xfd", zstded, true},
	{"\xfd7zXZ\x00", "xz", false},
	{"BZh", "bzip2", false},
	{"\x5d\x00\x00", "lzma", false},
	{"\x89LZO", "lzo", false},
}

// sniff tells the compression of a payload.
func sniff(payload *io.SectionReader) (string, error) {
	head := make([]byte, 8)
	n, err := payload.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read payload: %w", err)
	}
	for _, m := range magics {
		if len(m.magic) > n || string(head[:len(m.magic)]) != m.magic {
			continue
		}
		if !m.known {
			return "", fmt.Errorf("payload is %s, want gzip, lz4 or zstd", m.compression)
		}
		return m.compression, nil
	}
	return "", fmt.Errorf("payload has unknown magic %x, want gzip, lz4 or zstd", head[:min(n, 4)])
}

// decompress gives a reader and what frees it, which has no errors but those of
// the reader.
func decompress(compression string, packed io.Reader) (r io.Reader, free func(), err error) {
	switch compression {
	case gzipped:
		r, err = gzip.NewReader(packed)
		return r, func() {}, err
	case lz4ed:
		return lz4.NewReader(packed), func() {}, nil
	default:
		// The kernel's own unpacker takes windows of up to 128 MiB.
		decoder, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return decoder, decoder.Close, nil
	}
}

// unknown is the size of a kernel of which only its end tells the size.
const unknown = -1

// sizedReader reads a kernel and holds it to its size.
type sizedReader struct {
	io.Reader
	want int64 // in bytes, or unknown
	got  int64
}

func (r *sizedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.got += int64(n)
	switch {
	case r.got > MaxSize:
		return 0, fmt.Errorf("kernel unpacks to more than %d bytes", MaxSize)
	case r.want != unknown && (r.got > r.want || r.got < r.want && errors.Is(err, io.EOF)):
		return 0, fmt.Errorf("payload does not end after the %d bytes that it announces, but at %d or later", r.want, r.got)
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("decompress payload: %w", err)
	}
	return n, err
}
