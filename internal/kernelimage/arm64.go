package kernelimage

import (
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Offsets in the header of an Image, from Documentation/arch/arm64/booting.rst
// of the kernel.
const (
	offsetImageSize = 16
	offsetFlags     = 24

	imageHeader   = 64        // bytes
	imageMagic    = "ARM\x64" // at 56
	flagBigEndian = 1
)

func openImage(content *io.SectionReader, header []byte) (*file, error) {
	if err := checkImage(header); err != nil {
		return nil, err
	}
	// A kernel with an EFI stub is a PE file too, whose sections tell of a file
	// that is cut off.
	if string(header[:2]) == "MZ" {
		if err := checkPE(content); err != nil {
			return nil, err
		}
	}
	return &file{info: Info{Format: Image, Arch: "aarch64"}, unpackedSize: content.Size(), content: content}, nil
}

func checkImage(header []byte) error {
	if size := le.Uint64(header[offsetImageSize:]); size == 0 || size > MaxSize {
		return fmt.Errorf("arm64 Image says that it takes %d bytes of memory, want 1 to %d", size, MaxSize)
	}
	if le.Uint64(header[offsetFlags:])&flagBigEndian != 0 {
		return errors.New("arm64 Image is big-endian, want little-endian")
	}
	return nil
}

func checkPE(content *io.SectionReader) error {
	program, err := pe.NewFile(content)
	if err != nil {
		return fmt.Errorf("read EFI header: %w", err)
	}
	if program.Machine != pe.IMAGE_FILE_MACHINE_ARM64 {
		return fmt.Errorf("EFI header is for machine %#x, want %#x", program.Machine, pe.IMAGE_FILE_MACHINE_ARM64)
	}
	for _, section := range program.Sections {
		if _, err := part(content, "section "+section.Name, uint64(section.Offset), uint64(section.Size)); err != nil {
			return err
		}
	}
	return nil
}

func openImageGzip(content *io.SectionReader) (*file, error) {
	info := Info{Format: ImageGzip, Compression: gzipped, Arch: "aarch64"}
	packed := &file{info: info, unpackedSize: unknown, content: content}
	return packed, packed.checkInner()
}

// openZBoot reads the header that drivers/firmware/efi/libstub/zboot-header.S of
// the kernel makes.
func openZBoot(content *io.SectionReader, header []byte) (*file, error) {
	payload, err := part(content, "payload", uint64(le.Uint32(header[8:])), uint64(le.Uint32(header[12:])))
	if err != nil {
		return nil, err
	}
	compression, err := sniff(payload)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(string(header[24:56]), "\x00")
	if !strings.HasPrefix(name, compression) { // zstd22 has its level
		return nil, fmt.Errorf("payload is %s, and the header says %q", compression, name)
	}
	info := Info{Format: ZBoot, Compression: compression, Arch: "aarch64"}
	packed := &file{info: info, unpackedSize: unknown, content: payload}
	return packed, packed.checkInner()
}

// checkInner checks that an arm64 Image is what a file holds.
func (f *file) checkInner() error {
	body, closeBody, err := f.body()
	if err != nil {
		return err
	}
	defer closeBody()
	header := make([]byte, imageHeader)
	if _, err := io.ReadFull(body, header); err != nil {
		return fmt.Errorf("read arm64 Image in %s: %w", f.info.Compression, err)
	}
	if string(header[56:60]) != imageMagic {
		return fmt.Errorf("%s holds no arm64 Image, but what starts with %q", f.info.Compression, header[:4])
	}
	return checkImage(header)
}
