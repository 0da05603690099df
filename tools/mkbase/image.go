package main

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/ociimage"
)

// ociArch are Go's names of architectures, which OCI images use.
var ociArch = map[string]string{"aarch64": "arm64", "x86_64": "amd64"}

// addImage applies all layers of an image on disk, each checked by digest, size
// and diff ID while it is read. It gives what the image is made of, as arguments
// of mksbom, one a line.
func addImage(tree *fstree.Tree, path, arch, digest, name string) (origin string, err error) {
	var want v1.Hash
	if digest != "" {
		if want, err = v1.NewHash(digest); err != nil {
			return "", fmt.Errorf("read flag --digest: %w", err)
		}
	}
	image, err := ociimage.Open(path, v1.Platform{OS: "linux", Architecture: ociArch[arch]}, want)
	if err != nil {
		return "", err
	}
	manifest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("read digest of %s: %w", path, err)
	}
	layers, err := image.Layers()
	if err != nil {
		return "", fmt.Errorf("list layers of %s: %w", path, err)
	}
	origin = fmt.Sprintf("--image=%s@%s\n", name, manifest)
	for _, layer := range layers {
		if err := tree.AddLayer(layer); err != nil {
			return "", fmt.Errorf("read image %s: %w", path, err)
		}
		digest, err := layer.Digest()
		if err != nil {
			return "", fmt.Errorf("read image %s: %w", path, err)
		}
		origin += fmt.Sprintf("--layer=%s\n", digest)
	}
	return origin, nil
}
