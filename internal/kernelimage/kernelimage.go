// Package kernelimage looks at Linux kernel files: what format they have, for
// which machine and of which release they are, and which hypervisor can load
// them. It unpacks those that have the kernel inside in compressed form.
//
// It reads untrusted files: sizes are bounded, and what does not fit together
// is an error. It does not load or change kernels.
package kernelimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxSize bounds a kernel file, packed or not, in bytes.
const MaxSize = 256 << 20

// Format is the format of a kernel file.
type Format string

const (
	ELF       Format = "elf"            // vmlinux: what the linker made
	BzImage   Format = "bzImage"        // x86: a boot loader stub around a compressed ELF file
	Image     Format = "arm64-image"    // the kernel as it will lie in memory, behind a header of 64 bytes
	ImageGzip Format = "arm64-image.gz" // Image in gzip
	ZBoot     Format = "arm64-zboot"    // an EFI program around a compressed Image
)

// Info is what a kernel file says about itself.
type Info struct {
	Format Format
	// Compression is that of the kernel inside: gzip, lz4, zstd, or "".
	Compression string
	Arch        string // as uname(1) says it: x86_64 or aarch64
	// Release is what uname -r will print, as in "6.1.0-50-cloud-amd64". It is ""
	// where the file has no version text: it is then no Linux kernel, but may be
	// firmware.
	Release string
	// Banner is the whole version text, with the compiler and the build's date,
	// without "Linux version ".
	Banner string
	// PVH tells that an ELF file has the note of an entry point by the PVH
	// protocol: owner Xen, type 18, with an address.
	PVH bool
	// Config is the kernel's configuration, as its build's .config had it, where
	// the kernel was built with CONFIG_IKCONFIG; or nil.
	Config []byte
}

// Inspect looks at a kernel file of size bytes. It reads all of it, unpacking
// what is compressed, in small memory; errors name what is wrong.
func Inspect(r io.ReaderAt, size int64) (*Info, error) {
	kernel, err := open(r, size)
	if err != nil {
		return nil, err
	}
	body, closeBody, err := kernel.body()
	if err != nil {
		return nil, err
	}
	defer closeBody()
	found, err := scan(body)
	if err != nil {
		return nil, err
	}
	info := &kernel.info
	info.Config = found.config
	if info.Banner == "" {
		info.Banner = found.banner
	}
	info.Release = release(info.Banner)
	return info, nil
}

// Unpack gives the kernel that is compressed in a file, in the form that
// hypervisors load: the ELF file of a bzImage, the Image of the other formats.
// It gives an ELF file and an Image as they are.
func Unpack(r io.ReaderAt, size int64) ([]byte, error) {
	packed, err := open(r, size)
	if err != nil {
		return nil, err
	}
	body, closeBody, err := packed.body()
	if err != nil {
		return nil, err
	}
	defer closeBody()
	var buffer bytes.Buffer
	// Most kernels fit in; a size that is a lie costs no more.
	buffer.Grow(int(min(max(packed.unpackedSize, 0), 64<<20)) + bytes.MinRead)
	if _, err := buffer.ReadFrom(body); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// file is a kernel file whose headers were read.
type file struct {
	info         Info
	unpackedSize int64 // in bytes, or unknown
	content      *io.SectionReader
}

// body is the kernel itself, unpacked, from its start.
func (f *file) body() (body io.Reader, closeBody func(), err error) {
	content := io.NewSectionReader(f.content, 0, f.content.Size())
	if f.info.Compression == "" {
		return content, func() {}, nil
	}
	body, closeBody, err = decompress(f.info.Compression, content)
	if err != nil {
		return nil, nil, fmt.Errorf("decompress payload: %w", err)
	}
	return &sizedReader{Reader: body, want: f.unpackedSize}, closeBody, nil
}

// Recognize tells whether a file starts as a kernel does, or as another program
// that may be meant for one. Inspect tells whether it is one.
func Recognize(r io.ReaderAt, size int64) bool {
	content := io.NewSectionReader(r, 0, min(size, MaxSize))
	header, err := readHeader(content)
	if err != nil {
		return false
	}
	format := sniffFormat(header)
	if format != ImageGzip {
		return format != ""
	}
	// An initrd may be gzip as well; that starts with an archive or with padding.
	body, free, err := decompress(gzipped, content)
	if err != nil {
		return false
	}
	defer free()
	header = make([]byte, imageHeader)
	_, err = io.ReadFull(body, header)
	return err == nil && (string(header[56:60]) == imageMagic || header[0] != '0' && header[0] != 0)
}

// headerSize is enough to know all formats, in bytes.
const headerSize = 0x250

func readHeader(content *io.SectionReader) ([]byte, error) {
	header := make([]byte, headerSize)
	n, err := content.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read kernel: %w", err)
	}
	if n < imageHeader {
		return nil, fmt.Errorf("%d bytes are too few for a kernel", n)
	}
	return header[:n], nil
}

// sniffFormat gives the format that a header is of, or "".
func sniffFormat(header []byte) Format {
	switch {
	case string(header[:4]) == "\x7fELF":
		return ELF
	case string(header[56:60]) == imageMagic:
		return Image
	case string(header[:2]) == "\x1f\x8b":
		return ImageGzip
	case string(header[:2]) == "MZ" && string(header[4:8]) == "zimg":
		return ZBoot
	case len(header) >= offsetMagic+4 && string(header[offsetMagic:offsetMagic+4]) == bzMagic:
		return BzImage
	default:
		return ""
	}
}

func open(r io.ReaderAt, size int64) (*file, error) {
	if size > MaxSize {
		return nil, fmt.Errorf("kernel has %d bytes, want at most %d", size, MaxSize)
	}
	content := io.NewSectionReader(r, 0, size)
	header, err := readHeader(content)
	if err != nil {
		return nil, err
	}
	switch sniffFormat(header) {
	case ELF:
		return openELF(content)
	case Image:
		return openImage(content, header)
	case ImageGzip:
		return openImageGzip(content)
	case ZBoot:
		return openZBoot(content, header)
	case BzImage:
		return openBzImage(content, header)
	default:
		return nil, fmt.Errorf("no kernel: it starts with %x, which is neither ELF, bzImage nor an arm64 Image", header[:4])
	}
}

// part is the bytes of a file that a header speaks of.
func part(content *io.SectionReader, what string, offset, length uint64) (*io.SectionReader, error) {
	size := uint64(content.Size())
	if offset > size || length > size-offset {
		return nil, fmt.Errorf("%s of %d bytes at %d is outside of the file's %d bytes", what, length, offset, size)
	}
	return io.NewSectionReader(content, int64(offset), int64(length)), nil
}

var le = binary.LittleEndian
