package ociimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	// maxEntries bounds the entries of an archive. An image has a few hundred
	// layers at most, and a few files for each.
	maxEntries = 1 << 14
	// maxName bounds the names in it, PATH_MAX of the kernel.
	maxName = 4095
	// maxLinks bounds the links from one name to a file.
	maxLinks = 8
)

// archive is where the files of a tar archive are. Nothing of it is extracted:
// its names are keys and nothing more.
type archive struct {
	path  string
	files map[string]section
	links map[string]string // name -> name
}

// section is a part of the archive.
type section struct{ offset, size int64 }

// magics are the beginnings of compressed archives.
var magics = map[string]string{"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "BZh": "bzip2", "\xfd7zXZ": "xz"}

func readArchive(path string) (a *archive, err error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start := make([]byte, 8)
	if _, err := f.ReadAt(start, 0); err != nil && err != io.EOF {
		return nil, err
	}
	for magic, name := range magics {
		if bytes.HasPrefix(start, []byte(magic)) {
			return nil, fmt.Errorf("it is compressed with %s; decompress it first", name)
		}
	}
	a = &archive{path: path, files: map[string]section{}, links: map[string]string{}}
	// Without a buffer in front of f, its position is that of the reader.
	for r, entries := tar.NewReader(f), 1; ; entries++ {
		header, err := r.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, err
		}
		if entries > maxEntries {
			return nil, fmt.Errorf("more than %d entries", maxEntries)
		}
		if err := a.add(header, f); err != nil {
			return nil, fmt.Errorf("read entry %.200q: %w", header.Name, err)
		}
	}
}

func (a *archive) add(header *tar.Header, f *os.File) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if len(header.Name) > maxName || len(header.Linkname) > maxName {
		return fmt.Errorf("name has more than %d bytes", maxName)
	}
	name := clean(header.Name)
	if header.Typeflag != tar.TypeDir && (a.has(name) || a.links[name] != "") {
		return errors.New("there are two of that name")
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("sparse file is not supported")
		}
	}
	switch header.Typeflag {
	case tar.TypeReg:
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.files[name] = section{offset, header.Size}
	case tar.TypeSymlink:
		// docker save links a layer that several images have.
		target := header.Linkname
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		a.links[name] = clean(target)
	case tar.TypeLink:
		a.links[name] = clean(header.Linkname)
	case tar.TypeDir:
	default:
		return fmt.Errorf("type %q is not one of an image's archive", header.Typeflag)
	}
	return nil
}

// clean takes a name from the root, which it cannot leave.
func clean(name string) string { return path.Join("/", name)[1:] }

func (a *archive) has(name string) bool {
	_, ok := a.files[name]
	return ok
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open in archive", Path: name, Err: err}
	}
	f, err := openRegular(a.path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, s.offset, s.size), f}, nil
}

func (a *archive) find(name string) (section, error) {
	name = clean(name)
	for range maxLinks {
		if s, ok := a.files[name]; ok {
			return s, nil
		}
		target, ok := a.links[name]
		if !ok {
			return section{}, fs.ErrNotExist
		}
		name = target
	}
	return section{}, fmt.Errorf("it is behind more than %d links", maxLinks)
}
