package ociimage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layoutFile marks an OCI image layout, as a directory or in an archive
// (image-layout.md of the OCI image specification).
const layoutFile = "oci-layout"

// indexFile leads to a layout's images.
const indexFile = "index.json"

// IsMarker tells the names, at the top of a folder or archive, that no root file
// system has and one kind of image each does: OCI layouts, archives of `docker
// save`, and those of before Docker 1.10, which Open refuses.
func IsMarker(name string) bool {
	switch clean(name) {
	case layoutFile, indexFile, dockerFile, "repositories":
		return true
	}
	return false
}

// files opens the regular files of a layout by their path in it.
type files interface {
	open(name string) (io.ReadCloser, error)
}

// folder is a directory of this machine. Symbolic links in it are followed,
// since build systems make layouts of them: a blob that leads elsewhere still has
// its digest, and the folder is the caller's choice.
type folder string

func (f folder) open(name string) (io.ReadCloser, error) {
	return openRegular(filepath.Join(string(f), name))
}

// openRegular opens a regular file, and does not wait for who writes to a FIFO.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: it is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func openLayout(f files, platform v1.Platform, digest v1.Hash) (v1.Image, error) {
	var header struct {
		Version string `json:"imageLayoutVersion"`
	}
	raw, err := readFile(f, layoutFile)
	if err == nil {
		err = decode(raw, &header)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of OCI image layout: %w", layoutFile, err)
	}
	if header.Version != "1.0.0" {
		return nil, fmt.Errorf("read %s of OCI image layout: version is %q, want 1.0.0", layoutFile, header.Version)
	}
	raw, err = readFile(f, indexFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", indexFile, err)
	}
	index, err := parseIndex(raw, types.OCIImageIndex)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", indexFile, err)
	}
	return resolve(index.Manifests, platform, digest, func(desc v1.Descriptor) (io.ReadCloser, error) {
		return f.open("blobs/" + desc.Digest.Algorithm + "/" + desc.Digest.Hex)
	})
}

func readFile(f files, name string) ([]byte, error) {
	r, err := f.open(name)
	if err != nil {
		return nil, err
	}
	return readAll(r, maxDocument)
}
