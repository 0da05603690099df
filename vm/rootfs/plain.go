package rootfs

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/ociimage"
)

// errIsImage is the error of a root file system that is an image.
var errIsImage = errors.New("it is an image")

// OpenTar opens a root file system in a tar, with gzip, zstd or no compression.
// It is read once here, and its content must be the same when it is read again.
// A tar that has what only images have (ociimage.IsMarker) is an error, as one
// without entries is.
func OpenTar(ctx context.Context, path string) (*Image, error) {
	layer, err := scanTar(ctx, path)
	if err != nil {
		return nil, ociimage.Printable(fmt.Errorf("open root file system %q: %w", path, err))
	}
	all, err := partial.CompressedToLayer(layer)
	if err != nil {
		return nil, fmt.Errorf("open root file system %q: %w", path, err)
	}
	return &Image{layers: []v1.Layer{all}, ids: []v1.Hash{layer.diffID}}, nil
}

// openFolder opens a root file system in a folder, whose files are read as they
// are when the disk is written.
func openFolder(_ context.Context, path string) (*Image, error) {
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) == 0 {
		err = errors.New("folder is empty")
	}
	for _, entry := range entries {
		if ociimage.IsMarker(entry.Name()) {
			err = fmt.Errorf("%w: it has %s", errIsImage, entry.Name())
		}
	}
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open root file system %q: %w", path, err)
	}
	return &Image{folder: path}, nil
}

// scanTar reads a tar for its digests, and to know that it is a root file system.
func scanTar(ctx context.Context, path string) (_ *tarLayer, err error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	blob := &hashed{r: contextReader{ctx, file}, hash: sha256.New()}
	limits := fstree.DefaultLimits()
	decoder, isCompressed, err := fstree.Decompress(bufio.NewReaderSize(blob, 128<<10), limits.WindowBytes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, decoder.Close()) }()
	if !isCompressed {
		// What can be seeked in tells fast whether it is an image.
		if err := scanEntries(io.NewSectionReader(file, 0, math.MaxInt64)); err != nil {
			return nil, err
		}
	}
	content := &hashed{r: decoder, hash: sha256.New(), limit: limits.TotalBytes}
	if err := scanEntries(content); err != nil {
		return nil, err
	}
	for _, rest := range []io.Reader{content, blob} {
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return nil, fmt.Errorf("read to the end: %w", err)
		}
	}
	return &tarLayer{path: path, digest: blob.sum(), diffID: content.sum(), size: blob.n}, nil
}

func scanEntries(r io.Reader) error {
	archive := tar.NewReader(r)
	for entries := 0; ; entries++ {
		header, err := archive.Next()
		switch {
		case err == io.EOF && entries > 0:
			return nil
		case err == io.EOF:
			return errors.New("tar has no entries")
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			if entries == 0 {
				return fmt.Errorf("read tar, with gzip, zstd or no compression: %w", err)
			}
			return fmt.Errorf("read tar: %w", err)
		case header.Typeflag != tar.TypeXGlobalHeader && ociimage.IsMarker(header.Name):
			return fmt.Errorf("%w: it has %.200q", errIsImage, header.Name)
		}
	}
}

// openFile opens a regular file, and does not wait for who writes to a FIFO.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is neither a folder nor a regular file")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// contextReader ends with the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// hashed counts and hashes what is read through it.
type hashed struct {
	r     io.Reader
	hash  hash.Hash
	n     int64
	limit int64 // 0 is none
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.n += int64(n)
	h.hash.Write(p[:n]) // never returns an error
	if h.limit > 0 && h.n > h.limit {
		return 0, fmt.Errorf("more than %d uncompressed bytes", h.limit)
	}
	return n, err
}

func (h *hashed) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.hash.Sum(nil))}
}

// tarLayer is a file as a layer.
type tarLayer struct {
	path           string
	digest, diffID v1.Hash
	size           int64
}

func (l *tarLayer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *tarLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *tarLayer) Size() (int64, error)                { return l.size, nil }
func (l *tarLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
func (l *tarLayer) Compressed() (io.ReadCloser, error)  { return openFile(l.path) }
