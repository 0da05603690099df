package rootfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kindling-vm/kindling/internal/ociimage"
)

// Load finds the image that ref names, for platform. What ref is follows from
// its form and from what exists, in this order:
//
//  1. It begins with "." or "/", or a file of that name exists: a path. A
//     directory is an OCI image layout, a file an OCI archive or an archive of
//     `docker save` with one image.
//  2. Else it is a registry reference, "name:tag" or "name@sha256:...", read
//     with the credentials of the user's Docker configuration. Plain HTTP is
//     tried only where go-containerregistry allows it: loopback and private
//     addresses. The URLs that a manifest has for a layer are not used.
//
// The image's configuration must be for platform; where several images are, as
// in an index, platform picks one. Manifest and configuration are checked
// against their digests. The layers are not read here but by their user, from a
// registry with ctx.
func Load(ctx context.Context, ref string, platform v1.Platform) (v1.Image, error) {
	_, err := os.Stat(ref)
	if err == nil {
		return ociimage.Open(ref, platform, v1.Hash{})
	}
	if strings.HasPrefix(ref, ".") || strings.HasPrefix(ref, "/") {
		return nil, fmt.Errorf("load image %q: %w", ref, err)
	}
	img, err := loadRemote(ctx, ref, platform)
	if err != nil {
		return nil, ociimage.Printable(fmt.Errorf("load image %q: %w", ref, err))
	}
	return img, nil
}

func loadRemote(ctx context.Context, ref string, platform v1.Platform) (v1.Image, error) {
	reference, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("no such file, and %w", err)
	}
	puller, err := remote.NewPuller(remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, err
	}
	got, err := puller.Get(ctx, reference)
	if err != nil {
		return nil, err
	}
	root := v1.Descriptor{MediaType: got.MediaType, Size: got.Size, Digest: got.Digest}
	if pinned, ok := reference.(name.Digest); ok {
		if root.Digest, err = v1.NewHash(pinned.DigestStr()); err != nil {
			return nil, err
		}
	}
	return ociimage.Resolve(root, platform, v1.Hash{}, func(desc v1.Descriptor) (io.ReadCloser, error) {
		digest := reference.Context().Digest(desc.Digest.String())
		switch {
		case desc.Digest == root.Digest:
			return io.NopCloser(bytes.NewReader(got.Manifest)), nil
		case desc.MediaType.IsIndex() || desc.MediaType.IsImage():
			child, err := puller.Get(ctx, digest)
			if err != nil {
				return nil, err
			}
			return io.NopCloser(bytes.NewReader(child.Manifest)), nil
		}
		blob, err := puller.Layer(ctx, digest)
		if err != nil {
			return nil, err
		}
		return blob.Compressed()
	})
}
