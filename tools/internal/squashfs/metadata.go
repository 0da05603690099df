package squashfs

import (
	"bufio"
	"fmt"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// storedMetadata marks the length of a metadata block that is not compressed,
// SQUASHFS_COMPRESSED_BIT.
const storedMetadata = 1 << 15

// output is the image behind the superblock.
type output struct {
	*bufio.Writer
	offset  int64 // in the image, of the next byte
	encoder *zstd.Encoder
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	o.offset += int64(n)
	return n, err
}

// metadata writes the blocks of a table and returns its start.
func (o *output) metadata(name string, m *metadata) (start uint64, err error) {
	m.end()
	if len(m.blocks) > math.MaxUint32 {
		return 0, fmt.Errorf("%s has %d bytes, more than %d", name, len(m.blocks), math.MaxUint32)
	}
	start = uint64(o.offset)
	_, err = o.Write(m.blocks)
	return start, err
}

// lookupTable writes the records of a table and behind them the starts of its
// blocks, and returns where the starts are.
func (o *output) lookupTable(records []byte) (start uint64, err error) {
	var starts []byte
	for chunk := range slices.Chunk(records, metadataSize) {
		starts = le.AppendUint64(starts, uint64(o.offset))
		if _, err := o.Write(appendMetadata(nil, o.encoder, chunk)); err != nil {
			return 0, err
		}
	}
	start = uint64(o.offset)
	_, err = o.Write(starts)
	return start, err
}

// metadata is a table of records that run over the ends of its blocks.
type metadata struct {
	encoder *zstd.Encoder
	blocks  []byte // compressed, with their headers
	rest    []byte // uncompressed, less than a block
}

// position is where the next record starts.
func (m *metadata) position() (block, offset int) { return len(m.blocks), len(m.rest) }

func (m *metadata) write(p []byte) {
	m.rest = append(m.rest, p...)
	for len(m.rest) >= metadataSize {
		m.blocks = appendMetadata(m.blocks, m.encoder, m.rest[:metadataSize])
		m.rest = append(m.rest[:0], m.rest[metadataSize:]...)
	}
}

func (m *metadata) end() {
	if len(m.rest) > 0 {
		m.blocks = appendMetadata(m.blocks, m.encoder, m.rest)
		m.rest = nil
	}
}

// appendMetadata appends one block: a length in two bytes and the data.
func appendMetadata(b []byte, encoder *zstd.Encoder, raw []byte) []byte {
	data := encoder.EncodeAll(raw, nil)
	size := uint16(len(data))
	if len(data) >= len(raw) {
		data, size = raw, uint16(len(raw))|storedMetadata
	}
	return append(le.AppendUint16(b, size), data...)
}
