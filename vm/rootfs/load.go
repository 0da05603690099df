package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/internal/ociimage"
)

// Options say how Load asks registries. The zero value is ready.
type Options struct {
	// Mirrors are asked before the reference's own registry, in their order: each
	// is HOST or HOST/PREFIX, below which the repository has the same name. They
	// need no trust but for what a tag means.
	Mirrors []string
	// Documents keeps what is small between runs; nil keeps nothing.
	Documents Documents
}

// Documents keeps indexes, manifests and configurations by their digests. What it
// gives is checked as what a registry gives is.
type Documents interface {
	// Get gives fs.ErrNotExist for what is not there.
	Get(digest v1.Hash) ([]byte, error)
	Put(digest v1.Hash, data []byte) error
}

// Load finds the image that ref names, for platform. What ref is follows from
// its form and from what exists, in this order:
//
//  1. It begins with "." or "/", or a file of that name exists: a path. What is
//     there is told by names that only images have (ociimage.IsMarker). With one,
//     a folder is an OCI image layout, and a file an OCI archive or an archive of
//     `docker save` with one image. Without, it is a root file system, which has
//     no configuration: a folder, or a tar with gzip, zstd or no compression. As
//     any folder can be one, its path must begin with "." or "/".
//  2. Else it is a registry reference, "name:tag" or "name@sha256:...", read
//     with the credentials of the user's Docker configuration. Plain HTTP is
//     tried only where go-containerregistry allows it: loopback and private
//     addresses. The URLs that a manifest has for a layer are not used.
//
// The image's configuration must be for platform; where several images are, as
// in an index, platform picks one. Nothing says what a root file system is for.
// Manifest and configuration are checked against their digests. The layers are
// not read here but by their user, from a registry with ctx.
func Load(ctx context.Context, ref string, platform v1.Platform, o Options) (*Image, error) {
	isPath := strings.HasPrefix(ref, ".") || strings.HasPrefix(ref, "/")
	info, err := os.Stat(ref)
	switch {
	case err == nil:
		return loadPath(ctx, ref, info.IsDir(), isPath, platform)
	case isPath:
		return nil, fmt.Errorf("load image %q: %w", ref, err)
	}
	image, err := loadRemote(ctx, ref, platform, o)
	if err != nil {
		return nil, ociimage.Printable(fmt.Errorf("load image %q: %w", ref, err))
	}
	return imageOf(image)
}

// loadPath finds out what is at a path, which isPath says cannot be taken for a
// reference.
func loadPath(ctx context.Context, path string, isDir, isPath bool, platform v1.Platform) (*Image, error) {
	open := OpenTar
	if isDir {
		open = openFolder
	}
	found, err := open(ctx, path)
	switch {
	case errors.Is(err, errIsImage):
		image, err := ociimage.Open(path, platform, v1.Hash{})
		if err != nil {
			return nil, err
		}
		return imageOf(image)
	case err == nil && !isPath:
		return nil, fmt.Errorf("load image %q: a file or folder has that name but is no image; as a root file system it is ./%s", path, path)
	}
	return found, err
}
