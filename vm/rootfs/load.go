package rootfs

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Load finds the image that ref names, for platform. What ref is follows from
// its form and from what exists, in this order:
//
//  1. It begins with "." or "/", or a file of that name exists: a path. A
//     directory is an OCI image layout, a file an archive of `docker save` with
//     one image.
//  2. Else it is a registry reference, "name:tag" or "name@sha256:...", read
//     with the credentials of the user's Docker configuration. Plain HTTP is
//     tried only where go-containerregistry allows it: loopback and private
//     addresses.
//
// The image's configuration must be for platform; where several images are, as
// in an index, platform picks one. Manifest and configuration are checked
// against their digests. The layers are not read here but by their user, from a
// registry with ctx.
func Load(ctx context.Context, ref string, platform v1.Platform) (v1.Image, error) {
	img, err := load(ctx, ref, platform)
	if err != nil {
		return nil, fmt.Errorf("load image %q: %w", ref, err)
	}
	if err := checkPlatform(img, platform); err != nil {
		return nil, fmt.Errorf("load image %q: %w", ref, err)
	}
	if img, err = withDiffIDs(img); err != nil {
		return nil, fmt.Errorf("load image %q: %w", ref, err)
	}
	return img, nil
}

func load(ctx context.Context, ref string, platform v1.Platform) (v1.Image, error) {
	info, err := os.Stat(ref)
	switch {
	case err == nil && info.IsDir():
		return loadLayout(ref, platform)
	case err == nil:
		return tarball.ImageFromPath(ref, nil)
	case strings.HasPrefix(ref, ".") || strings.HasPrefix(ref, "/"):
		return nil, err
	}
	reference, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("no such file, and %w", err)
	}
	return remote.Image(reference, remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(platform))
}

// checkPlatform compares what the image's configuration says, since the
// platform in an index is only a hint. A variant counts if both have one.
func checkPlatform(img v1.Image, want v1.Platform) error {
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read image configuration: %w", err)
	}
	got := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	if got.OS != want.OS || got.Architecture != want.Architecture ||
		got.Variant != "" && want.Variant != "" && got.Variant != want.Variant {
		return fmt.Errorf("image is for %q, want %q", got.String(), want.String())
	}
	return nil
}

// image is an image whose layers have the diff IDs of its configuration. For a
// layer of a layout or an archive go-containerregistry unpacks the layer to
// compute one, which takes as long as its use and can never be wrong.
type image struct {
	v1.Image
	layers []v1.Layer
}

func (i image) Layers() ([]v1.Layer, error) { return slices.Clone(i.layers), nil }

type layer struct {
	v1.Layer
	diffID v1.Hash
}

func (l layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func withDiffIDs(img v1.Image) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("read layers: %w", err)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("image configuration has %d diff IDs, want %d as there are layers", len(diffIDs), len(layers))
	}
	result := image{Image: img}
	for i, l := range layers {
		result.layers = append(result.layers, layer{l, diffIDs[i]})
	}
	return result, nil
}
