package fstree

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// AddLayer applies a layer of an image as AddTar does. While reading it checks
// the blob's digest and size and the digest of the tar in it (the diff ID), to
// the last byte of both: go-containerregistry checks neither for an image
// layout on disk, and a tar reader alone stops before the end.
//
// The compression is told from the bytes, not from the media type, which is
// wrong often enough: gzip with any number of members, zstd with any number of
// frames, or none. The media type must be one of a file system layer; that of
// an encrypted one is not.
//
// Errors name the layer by its number, from 1 for the lowest, and its digest.
// What bounds the time is Limits, and what the layer's reader waits for: a layer
// of a registry ends with the context that it was made with.
func (t *Tree) AddLayer(layer v1.Layer) error {
	return t.apply(func() error {
		digest, err := layer.Digest()
		if err != nil {
			return fmt.Errorf("apply layer %d: read digest: %w", t.layer, err)
		}
		if err := t.addLayer(layer, digest); err != nil {
			return fmt.Errorf("apply layer %d, %s: %w", t.layer, digest, err)
		}
		return nil
	})
}

func (t *Tree) addLayer(layer v1.Layer, digest v1.Hash) (err error) {
	size, err := layer.Size()
	if err != nil {
		return fmt.Errorf("read size: %w", err)
	}
	diffID, err := layer.DiffID()
	if err != nil {
		return fmt.Errorf("read diff ID: %w", err)
	}
	for _, h := range []v1.Hash{digest, diffID} {
		if h.Algorithm != "sha256" {
			return fmt.Errorf("digest algorithm %q is not supported", h.Algorithm)
		}
	}
	mediaType, err := layer.MediaType()
	if err != nil {
		return fmt.Errorf("read media type: %w", err)
	}
	if !mediaType.IsLayer() {
		return fmt.Errorf("media type %q is not one of a file system layer", mediaType)
	}
	blob, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("open blob: %w", err)
	}
	defer func() {
		if closeErr := blob.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close blob: %w", closeErr)
		}
	}()
	compressed := &verifier{r: blob, hash: sha256.New(), size: size}
	uncompressed := &verifier{hash: sha256.New(), size: -1}
	err = t.addBlob(compressed, uncompressed)
	if errors.Is(err, ErrLimit) {
		return err
	}
	// When the blob is not the one that was asked for, other errors are
	// consequences. Drain it to know.
	if _, drainErr := io.Copy(io.Discard, compressed); drainErr != nil && err == nil {
		err = fmt.Errorf("read blob: %w", drainErr)
	}
	if blobErr := compressed.check(digest); blobErr != nil {
		if err != nil {
			return fmt.Errorf("verify blob: %w (%w)", blobErr, err)
		}
		return fmt.Errorf("verify blob: %w", blobErr)
	}
	if err != nil {
		return err
	}
	if err := uncompressed.check(diffID); err != nil {
		return fmt.Errorf("verify diff ID: %w", err)
	}
	return nil
}

// AddBlob is AddLayer for a layer without a known digest, such as a file that
// the build system has checked already. Its errors, like those of AddTar, name
// the path and leave it to the caller to name the layer.
func (t *Tree) AddBlob(r io.Reader) error {
	return t.apply(func() error {
		return t.addBlob(&verifier{r: r, size: -1}, &verifier{size: -1})
	})
}

// AddFile is AddBlob for a layer in a file of the host. Of a plain tar, contents
// are not copied but read where they are, so the file must stay as it is until
// Close.
func (t *Tree) AddFile(name string) error {
	return t.apply(func() (err error) {
		file, err := newHostFile(&t.host, name)
		if err != nil {
			return err
		}
		content := io.NewSectionReader(file, 0, file.size)
		magic := make([]byte, 4)
		n, err := content.ReadAt(magic, 0)
		if err != nil && err != io.EOF {
			return fmt.Errorf("read blob: %w", err)
		}
		if isGzip(magic[:n]) || isZstd(magic[:n]) {
			return t.addBlob(&verifier{r: content, size: -1}, &verifier{size: -1})
		}
		r := &tarFile{t: t, file: file, content: content, buffered: bufio.NewReaderSize(content, tarFileBuffer)}
		return t.addEntries(r, r.take)
	})
}

// addBlob applies the blob behind compressed, reading the tar in it through
// uncompressed, whose reader it sets.
func (t *Tree) addBlob(compressed, uncompressed *verifier) (err error) {
	// The decompressors may read up to the buffer's end; that the blob ends
	// with the compressed data is theirs to check.
	decoder, isCompressed, err := Decompress(bufio.NewReaderSize(compressed, 128<<10), t.Limits.WindowBytes)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := decoder.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close decompressor: %w", closeErr)
		}
	}()
	uncompressed.r = decoder
	if isCompressed {
		ahead := newReadAhead(&ratioReader{t: t, r: decoder, compressed: compressed})
		defer ahead.close()
		uncompressed.r = ahead
	}
	return t.addTar(uncompressed)
}

// Decompress tells the compression of a blob from its first bytes: gzip with any
// number of members, zstd with any number of frames and windows of up to
// maxWindow bytes, or none. What comes out reads to the end of the blob.
func Decompress(blob *bufio.Reader, maxWindow uint64) (r io.ReadCloser, isCompressed bool, err error) {
	magic, err := blob.Peek(4)
	if err != nil && err != io.EOF {
		return nil, false, fmt.Errorf("read blob: %w", err)
	}
	switch {
	case isGzip(magic):
		decoder, err := gzip.NewReader(blob)
		if err != nil {
			return nil, false, fmt.Errorf("read gzip: %w", err)
		}
		return decoder, true, nil
	case isZstd(magic):
		decoder, err := zstd.NewReader(blob,
			zstd.WithDecoderMaxWindow(maxWindow),
			// No goroutine that reads ahead: ratioReader looks at the input's
			// counter.
			zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, false, fmt.Errorf("read zstd: %w", err)
		}
		return decoder.IOReadCloser(), true, nil
	}
	return io.NopCloser(blob), false, nil
}

// isGzip tells a gzip member by its magic number (RFC 1952, section 2.3.1).
func isGzip(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) }

// isZstd tells a zstd frame or a skippable frame, with which some writers
// start, by its magic number (RFC 8878, section 3.1).
func isZstd(magic []byte) bool {
	if len(magic) < 4 {
		return false
	}
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// verifier counts and hashes what is read through it.
type verifier struct {
	r    io.Reader
	hash hash.Hash // nil counts only
	size int64     // what to expect; -1 is unknown
	n    int64
}

func (v *verifier) Read(p []byte) (int, error) {
	// One byte more than expected is enough to know.
	if v.size >= 0 {
		if v.n > v.size {
			return 0, fmt.Errorf("more than %d bytes", v.size)
		}
		p = p[:min(int64(len(p)), v.size+1-v.n)]
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	if v.hash != nil {
		v.hash.Write(p[:n]) // never returns an error
	}
	return n, err
}

func (v *verifier) check(want v1.Hash) error {
	if v.size >= 0 && v.n > v.size {
		return fmt.Errorf("got more than %d bytes", v.size)
	}
	if v.size >= 0 && v.n != v.size {
		return fmt.Errorf("got %d bytes, want %d", v.n, v.size)
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != want.Hex {
		return fmt.Errorf("got digest sha256:%s, want %s", got, want)
	}
	return nil
}

// ratioReader bounds what compressed bytes may become.
type ratioReader struct {
	t          *Tree
	r          io.Reader
	compressed *verifier
	n          int64
}

func (r *ratioReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	limits := &r.t.Limits
	if r.n > limits.RatioFreeBytes && r.n/limits.Ratio > r.compressed.n {
		return 0, limits.exceeded("uncompressed bytes", r.n, limits.Ratio*r.compressed.n)
	}
	return n, err
}
