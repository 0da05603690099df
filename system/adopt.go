package system

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Adopted is a kernel or an initrd of the data directory that is not of a set: a
// hypeman host put it there.
type Adopted struct {
	Path    string        `json:"path"`
	Kernel  KernelVersion `json:"kernel,omitempty"`
	Initrd  string        `json:"initrd,omitempty"` // its ID: Unix seconds or nanoseconds
	Arch    string        `json:"arch"`
	SHA256  string        `json:"sha256"`
	Size    int64         `json:"size"`
	Pinned  bool          `json:"pinned"` // whether its digest was known before
	Vouched string        `json:"vouched"`
}

// Adopt verifies what hypeman hosts left in the data directory, as far as that is
// possible, and notes its digests: from then on it does not change unseen.
// Kernels and initrds that are cut off go to quarantine. What is wrong with one
// does not keep the others from being adopted; all errors are joined.
func (s *Store) Adopt(ctx context.Context) (adopted []Adopted, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		found, err := s.legacy(d)
		if err != nil {
			return err
		}
		var failed []error
		for _, file := range found {
			if err := s.adopt(ctx, d, &file); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				failed = append(failed, err)
				continue
			}
			adopted = append(adopted, file)
		}
		return errors.Join(failed...)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		err = fmt.Errorf("adopt: %w", err)
	}
	return adopted, err
}

// legacy lists where a hypeman host has files. Path is a name.
func (s *Store) legacy(d *datadir.Dir) ([]Adopted, error) {
	var found []Adopted
	versions, err := d.List(kernelDir)
	if err != nil {
		return nil, err
	}
	for _, version := range versions {
		if strings.HasPrefix(version, digestPrefix) {
			continue
		}
		arches, err := d.List(path.Join(kernelDir, version))
		if err != nil {
			return nil, err
		}
		for _, arch := range arches {
			for _, name := range []string{kernelFile, "Image"} {
				found = append(found, Adopted{Path: path.Join(kernelDir, version, arch, name), Kernel: KernelVersion(version), Arch: arch})
			}
		}
	}
	arches, err := d.List(initrdDir)
	if err != nil {
		return nil, err
	}
	for _, arch := range arches {
		ids, err := d.List(path.Join(initrdDir, arch))
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if id != latestName && !strings.HasPrefix(id, digestPrefix) {
				found = append(found, Adopted{Path: path.Join(initrdDir, arch, id, initrdFile), Initrd: id, Arch: arch})
			}
		}
	}
	return found, nil
}

func (s *Store) adopt(ctx context.Context, d *datadir.Dir, file *Adopted) error {
	name := file.Path
	var want wanted
	if a := pinned(file.Kernel, file.Arch); a != nil && len(a.URLs) > 0 {
		want.sha256 = a.SHA256
	}
	r, err := s.use(ctx, d, name, want)
	if err != nil {
		return err
	}
	file.Path, file.SHA256, file.Size, file.Pinned = d.Path(name), r.SHA256, r.Size, r.Pinned
	switch {
	case r.Pinned:
		file.Vouched = "its digest is known"
	case file.Initrd != "":
		file.Vouched, err = vouchInitrd(d, name)
	default:
		file.Vouched = "unpinned: nobody has said what bytes it should have"
	}
	return err
}

// unfinished tells what shows that a file was cut off or is not what its name
// says, for files of which no digest is known.
func unfinished(file *os.File, name string) string {
	var err error
	switch first, _, _ := strings.Cut(name, "/"); first {
	case kernelDir:
		err = checkKernel(file, path.Base(path.Dir(name)))
	case initrdDir:
		_, err = readNewc(file)
		if errors.Is(err, errCompressed) {
			err = nil
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// checkKernel reads as much of a kernel as tells whether it is whole.
func checkKernel(file *os.File, arch string) error {
	var head [64]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("it has less than %d bytes", len(head))
	}
	machine := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}[arch]
	switch {
	case string(head[56:60]) == "ARM\x64": // Documentation/arch/arm64/booting.rst
		if machine != elf.EM_AARCH64 {
			return fmt.Errorf("it is an arm64 Image, want a kernel for %s", arch)
		}
		return nil
	case string(head[:4]) != elf.ELFMAG:
		return errors.New("it is neither an ELF file nor an arm64 Image")
	}
	kernel, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("it is no whole ELF file: %w", err)
	}
	if kernel.Machine != machine {
		return fmt.Errorf("it is for %v, want a kernel for %s", kernel.Machine, arch)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	for _, prog := range kernel.Progs {
		if size := uint64(info.Size()); prog.Off > size || prog.Filesz > size-prog.Off {
			return errors.New("it is no whole ELF file: a segment ends behind its end")
		}
	}
	return nil
}

var errCompressed = errors.New("it is compressed")

// compressions are how what the kernel takes begins: gzip, bzip2, lzma, xz, lzo,
// lz4, zstd. See lib/decompress.c of the kernel.
var compressions = []string{"\x1f\x8b", "BZh", "\x5d\x00", "\xfd7zXZ", "\x89LZO", "\x02\x21\x4c\x18", "\x28\xb5\x2f\xfd"}

// newcEntry is where the content of a file in an archive is.
type newcEntry struct{ offset, size int64 }

// readNewc finds the files of the first archive of an uncompressed initrd, by
// their names. See Documentation/driver-api/early-userspace/buffer-format.rst.
func readNewc(file io.ReaderAt) (map[string]newcEntry, error) {
	const headerSize, align = 110, 4
	entries := map[string]newcEntry{}
	for offset := int64(0); ; {
		var header [headerSize]byte
		if offset == 0 {
			// What is not read here shows as an error below.
			n, _ := file.ReadAt(header[:], 0)
			if slices.ContainsFunc(compressions, func(magic string) bool { return bytes.HasPrefix(header[:n], []byte(magic)) }) {
				return nil, errCompressed
			}
		}
		if _, err := file.ReadAt(header[:], offset); err != nil {
			return nil, fmt.Errorf("it is no whole initrd: it ends in the header at byte %d", offset)
		}
		if string(header[:5]) != "07070" {
			return nil, fmt.Errorf("it is no whole initrd: no header at byte %d", offset)
		}
		// Fields are eight hexadecimal digits behind a magic of six bytes.
		field := func(index int) int64 {
			value, err := strconv.ParseUint(string(header[6+8*index:14+8*index]), 16, 32)
			if err != nil {
				return -1
			}
			return int64(value)
		}
		size, nameSize := field(6), field(11)
		if size < 0 || nameSize < 1 || nameSize > 4096 {
			return nil, fmt.Errorf("it is no whole initrd: bad header at byte %d", offset)
		}
		name := make([]byte, nameSize)
		if _, err := file.ReadAt(name, offset+headerSize); err != nil {
			return nil, fmt.Errorf("it is no whole initrd: it ends in the name at byte %d", offset)
		}
		content := (offset + headerSize + nameSize + align - 1) / align * align
		text := strings.TrimPrefix(path.Clean(string(bytes.TrimRight(name, "\x00"))), "/")
		if text == "TRAILER!!!" {
			return entries, nil
		}
		entries[text] = newcEntry{content, size}
		offset = (content + size + align - 1) / align * align
	}
}

// vouchInitrd compares an initrd with what the host that made it noted of its
// programs: the first 16 digits of the SHA-256 of agent, init, wrapper and the
// URL of the kernel's headers.
func vouchInitrd(d *datadir.Dir, name string) (text string, err error) {
	noted, err := d.ReadFile(path.Join(path.Dir(name), ".hash"), 1024)
	if errors.Is(err, fs.ErrNotExist) {
		return "unpinned: its host noted no digest", nil
	}
	if err != nil {
		return "", err
	}
	file, err := d.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	entries, err := readNewc(file)
	if errors.Is(err, errCompressed) {
		return "unpinned: it is compressed, its programs were not looked at", nil
	}
	if err != nil {
		return "", err
	}
	arch := path.Base(path.Dir(path.Dir(name)))
	addresses := []string{""}
	for _, kernel := range kernels() {
		for _, headers := range headersOf(kernel) {
			if kernel.Arch == arch && len(headers.URLs) > 0 {
				addresses = append(addresses, headers.URLs[0])
			}
		}
	}
	matches := slices.ContainsFunc(addresses, func(address string) bool {
		hash := sha256.New()
		for _, program := range []string{"usr/local/bin/guest-agent", "init.bin", "init"} {
			entry, ok := entries[program]
			if !ok {
				return false
			}
			// Reading what was just walked over; an error shows as another digest.
			_, _ = io.Copy(hash, io.NewSectionReader(file, entry.offset, entry.size))
		}
		hash.Write([]byte(address))
		return hex.EncodeToString(hash.Sum(nil))[:16] == strings.TrimSpace(string(noted))
	})
	if matches {
		return "its programs are those that its host noted", nil
	}
	return "unpinned: its programs are not those that its host noted, or its kernel is one of a later host", nil
}
