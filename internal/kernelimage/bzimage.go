package kernelimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
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

	bzMagic = "HdrS"
	// versionPayload is the first boot protocol that tells where the payload is.
	versionPayload = 0x0208
	sector         = 512
)

// openBzImage reads the header of an x86 kernel as distributions ship it. The
// kernel's build appends the unpacked size to the payload as four bytes,
// little-endian (scripts/Makefile.lib, size_append), but for gzip, which ends so
// by itself.
func openBzImage(content *io.SectionReader, header []byte) (*file, error) {
	if len(header) < headerSize {
		return nil, fmt.Errorf("%d bytes are too few for a bzImage", len(header))
	}
	if version := le.Uint16(header[offsetVersion:]); version < versionPayload {
		return nil, fmt.Errorf("boot protocol is %#x, want at least %#x", version, versionPayload)
	}
	banner, err := versionText(content, int64(le.Uint16(header[offsetKernelVersion:]))+sector)
	if err != nil {
		return nil, err
	}
	sectors := uint64(header[offsetSetupSects])
	if sectors == 0 {
		sectors = 4 // what boot.rst says that zero means
	}
	start := (sectors+1)*sector + uint64(le.Uint32(header[offsetPayload:]))
	payload, err := part(content, "payload", start, uint64(le.Uint32(header[offsetPayloadLength:])))
	if err != nil {
		return nil, err
	}
	if payload.Size() < 8 {
		return nil, fmt.Errorf("payload has %d bytes", payload.Size())
	}
	compression, err := sniff(payload)
	if err != nil {
		return nil, err
	}
	var trailer [4]byte
	if _, err := payload.ReadAt(trailer[:], payload.Size()-4); err != nil {
		return nil, fmt.Errorf("read payload's size: %w", err)
	}
	size := int64(le.Uint32(trailer[:]))
	if size > MaxSize {
		return nil, fmt.Errorf("payload unpacks to %d bytes, want at most %d", size, MaxSize)
	}
	if compression != gzipped {
		payload = io.NewSectionReader(payload, 0, payload.Size()-4)
	}
	info := Info{Format: BzImage, Compression: compression, Arch: "x86_64", Banner: banner}
	return &file{info: info, unpackedSize: size, content: payload}, nil
}

// maxVersionText bounds the version text, in bytes.
const maxVersionText = 1 << 10

func versionText(content *io.SectionReader, offset int64) (string, error) {
	if offset >= content.Size() {
		return "", fmt.Errorf("version text at %d is outside of the file", offset)
	}
	text := make([]byte, maxVersionText)
	n, err := content.ReadAt(text, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read version text: %w", err)
	}
	version, _, found := bytes.Cut(text[:n], []byte{0})
	if !found || release(string(version)) == "" {
		return "", fmt.Errorf("no version text at %d", offset)
	}
	return string(version), nil
}

// release is the first word of a version text.
func release(banner string) string {
	word, _, _ := strings.Cut(banner, " ")
	return word
}
