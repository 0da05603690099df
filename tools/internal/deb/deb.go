// Package deb reads the files of a Debian binary package. A package is an ar
// archive with the members debian-binary, control.tar and data.tar, the latter
// two compressed (deb(5)). Only data.tar is of interest here: nothing is
// installed, no maintainer script is looked at.
package deb

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Read calls f with each entry of the package's data.tar, in its order. It
// reads the file once, to its end, and checks that its SHA-256 is the one given
// in hexadecimal. The check comes last, so results of f count only when Read
// returns nil. A wrong digest is a *DigestError, reported before all that may
// follow from it.
func Read(path, sha256Hex string, f func(header *tar.Header, body io.Reader) error) (err error) {
	want, err := hex.DecodeString(sha256Hex)
	if err != nil || len(want) != sha256.Size {
		return fmt.Errorf("read package %s: %q is not a SHA-256 in hexadecimal", path, sha256Hex)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read package: %w", err)
	}
	defer func() {
		if closeErr := file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close package: %w", closeErr)
		}
	}()
	digest := sha256.New()
	r := io.TeeReader(file, digest)
	readErr := readData(r, f)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("read package %s: %w", path, err)
	}
	if got := digest.Sum(nil); string(got) != string(want) {
		return &DigestError{Path: path, Got: hex.EncodeToString(got), Want: hex.EncodeToString(want)}
	}
	if readErr != nil {
		return fmt.Errorf("read package %s: %w", path, readErr)
	}
	return nil
}

// DigestError tells of a package that does not have the bytes it should have.
type DigestError struct {
	Path      string
	Got, Want string // SHA-256 in hexadecimal
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("verify package %s: got SHA-256 %s, want %s", e.Path, e.Got, e.Want)
}

// Advise adds to a *DigestError the command that fetches the package again. Any
// other error stays as it is.
func Advise(err error, refetch string) error {
	if _, ok := errors.AsType[*DigestError](err); !ok || refetch == "" {
		return err
	}
	return fmt.Errorf("%w; it has changed since it was fetched, to fetch it again run: %s", err, refetch)
}

// readData calls f with the entries of data.tar of the package in r.
func readData(r io.Reader, f func(header *tar.Header, body io.Reader) error) error {
	archive, err := newArReader(bufio.NewReaderSize(r, 128<<10))
	if err != nil {
		return err
	}
	name, err := archive.next()
	if err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if name != "debian-binary" {
		return fmt.Errorf("first member is %q, not debian-binary", name)
	}
	version := make([]byte, 2)
	if _, err := io.ReadFull(archive, version); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if string(version) != "2." {
		return fmt.Errorf("package format is not 2")
	}
	for {
		name, err := archive.next()
		if err == io.EOF {
			return errors.New("package has no data.tar")
		}
		if err != nil {
			return err
		}
		if compression, ok := strings.CutPrefix(name, "data.tar"); ok {
			if err := readTar(archive, compression, f); err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			return nil
		}
	}
}

func readTar(r io.Reader, compression string, f func(header *tar.Header, body io.Reader) error) error {
	switch compression {
	case "":
	case ".gz":
		decoder, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = decoder
	case ".xz":
		decoder, err := xz.NewReader(r)
		if err != nil {
			return err
		}
		r = decoder
	case ".zst":
		decoder, err := zstd.NewReader(r)
		if err != nil {
			return err
		}
		defer decoder.Close()
		r = decoder
	default:
		return errors.New("compression is not supported")
	}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := f(header, archive); err != nil {
			return err
		}
	}
	// The decompressor checks its sums at the end of the stream, which is
	// behind the end of the tar.
	_, err := io.Copy(io.Discard, r)
	return err
}
