package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Offsets in the first sectors of a bzImage, from
// Documentation/arch/x86/boot.rst of the kernel.
const (
	offsetSetupSects    = 0x1f1
	offsetMagic         = 0x202
	offsetVersion       = 0x206
	offsetKernelVersion = 0x20e
	offsetPayload       = 0x248
	offsetPayloadLength = 0x24c
	headerEnd           = 0x250

	// versionPayload is the first boot protocol that tells where the payload is.
	versionPayload = 0x0208
	sector         = 512
)

// bzImage is an x86 kernel as distributions ship it: a boot loader stub around
// a compressed ELF file.
type bzImage struct {
	data    []byte
	payload []byte
	release string // as `uname -r` will print it
}

func parseBzImage(data []byte) (bzImage, error) {
	if len(data) < headerEnd {
		return bzImage{}, fmt.Errorf("%d bytes are too few for a kernel", len(data))
	}
	// Documentation/arch/arm64/booting.rst
	if string(data[56:60]) == "ARM\x64" {
		return bzImage{}, fmt.Errorf("it is an arm64 Image, want an x86 bzImage")
	}
	if string(data[offsetMagic:offsetMagic+4]) != "HdrS" {
		return bzImage{}, fmt.Errorf("no bzImage: magic is %q, want \"HdrS\"", data[offsetMagic:offsetMagic+4])
	}
	if version := binary.LittleEndian.Uint16(data[offsetVersion:]); version < versionPayload {
		return bzImage{}, fmt.Errorf("boot protocol is %#x, want at least %#x", version, versionPayload)
	}
	sectors := uint64(data[offsetSetupSects])
	if sectors == 0 {
		sectors = 4 // what boot.rst says that zero means
	}
	start := (sectors+1)*sector + uint64(binary.LittleEndian.Uint32(data[offsetPayload:]))
	length := uint64(binary.LittleEndian.Uint32(data[offsetPayloadLength:]))
	if start+length > uint64(len(data)) {
		return bzImage{}, fmt.Errorf("payload of %d bytes at %d is outside of the file's %d bytes", length, start, len(data))
	}
	text := uint64(binary.LittleEndian.Uint16(data[offsetKernelVersion:])) + sector
	if text >= uint64(len(data)) {
		return bzImage{}, fmt.Errorf("version text at %d is outside of the file", text)
	}
	version, _, found := bytes.Cut(data[text:], []byte{0})
	release, _, _ := strings.Cut(string(version), " ")
	if !found || release == "" {
		return bzImage{}, fmt.Errorf("no version text at %d", text)
	}
	return bzImage{data: data, payload: data[start : start+length], release: release}, nil
}

// unpack decompresses the payload. The kernel's build appends the unpacked
// size to it as four bytes, little-endian (scripts/Makefile.lib, size_append).
func (b bzImage) unpack() ([]byte, error) {
	if len(b.payload) < 8 {
		return nil, fmt.Errorf("payload has %d bytes", len(b.payload))
	}
	body, trailer := b.payload[:len(b.payload)-4], b.payload[len(b.payload)-4:]
	size := int64(binary.LittleEndian.Uint32(trailer))
	if size > maxKernel {
		return nil, fmt.Errorf("payload unpacks to %d bytes, want at most %d", size, maxKernel)
	}
	var reader io.Reader
	switch magic := body[:4]; {
	case bytes.Equal(magic, []byte{0x02, 0x21, 0x4c, 0x18}): // lz4, legacy frame
		reader = lz4.NewReader(bytes.NewReader(body))
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// The kernel's own unpacker takes windows of up to 128 MiB.
		decoder, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		defer decoder.Close()
		reader = decoder
	default:
		return nil, fmt.Errorf("payload has unknown magic %x, want lz4 or zstd", magic)
	}
	image, err := readAll(reader, size)
	if err != nil {
		return nil, fmt.Errorf("decompress payload: %w", err)
	}
	if n, err := reader.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("payload does not end after the %d bytes that it announces: %v", size, err)
	}
	return image, nil
}
