// Package ociimage opens a container image of this machine for one platform: an
// OCI image layout, an OCI archive, or an archive of `docker save`. It also has
// the part that does not depend on where an image comes from, for those who
// bring their own source, such as a registry.
//
// Every document is checked against its digest and size before a byte of it is
// believed. Layers are checked by who reads them: fstree.AddLayer compares
// digest, size and diff ID. Documents are bounded in size, depth and number, and
// none of their text reaches an error raw.
//
// The package does not apply layers, and it has no network.
package ociimage

import (
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Open finds the image for platform under path: in the OCI image layout that a
// directory is, or in the archive, compressed by nobody, that a file is. An
// archive that is both, as newer versions of `docker save` write it, is taken
// for an OCI layout.
//
// The image is the only one whose configuration is for platform; a variant
// counts if both sides have one. Where there is none, it is the only one of which
// nothing says for which system and architecture it is. Unless digest is zero, the image's manifest or
// an index that leads to it must have that digest. An archive of `docker save`
// has no manifest, so a digest is an error there, and Digest of the image is that
// of a manifest made of its configuration and layers.
//
// The layers have the diff IDs of the configuration; there are as many. Files
// are opened when they are read, so there is nothing to close.
func Open(path string, platform v1.Platform, digest v1.Hash) (v1.Image, error) {
	img, err := open(path, platform, digest)
	if err != nil {
		return nil, Printable(fmt.Errorf("open image %q: %w", path, err))
	}
	return img, nil
}

func open(path string, platform v1.Platform, digest v1.Hash) (v1.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openLayout(folder(path), platform, digest)
	}
	archive, err := readArchive(path)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	switch {
	case archive.has(layoutFile):
		return openLayout(archive, platform, digest)
	case archive.has(dockerFile):
		if digest != (v1.Hash{}) {
			return nil, fmt.Errorf("no manifest has digest %s, since an archive of docker save has no manifest", digest)
		}
		return openDocker(archive, platform)
	}
	return nil, errors.New("archive has neither " + layoutFile + " nor " + dockerFile)
}

// Source opens what a descriptor is about, an index or a manifest by its media
// type, a configuration or a layer by all others. What comes out need not be
// true: who reads it checks digest and size.
type Source func(v1.Descriptor) (io.ReadCloser, error)

// documents are those of an image, as they are written and as they are read.
type documents struct {
	mediaType   types.MediaType // of the manifest
	rawManifest []byte
	manifest    *v1.Manifest
	rawConfig   []byte
	config      *v1.ConfigFile
}

// newImage makes an image of its verified documents. It checks what is said of
// the layers, and leaves their bytes to who reads them.
func newImage(d documents, source Source) (v1.Image, error) {
	manifest, config := d.manifest, d.config
	if config.RootFS.Type != "layers" {
		return nil, fmt.Errorf("read configuration: rootfs is of type %q, want layers", config.RootFS.Type)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(diffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("read configuration: got %d diff IDs, want %d as there are layers",
			len(diffIDs), len(manifest.Layers))
	}
	img := &image{documents: d, layers: map[v1.Hash]*layer{}}
	for i, desc := range manifest.Layers {
		if err := checkLayer(desc, diffIDs[i]); err != nil {
			return nil, fmt.Errorf("read layer %d, %s: %w", i+1, desc.Digest, err)
		}
		same := img.layers[desc.Digest]
		if same != nil && (same.diffID != diffIDs[i] || same.desc.Size != desc.Size) {
			return nil, fmt.Errorf("read layer %d, %s: it stands there twice, with different diff IDs or sizes",
				i+1, desc.Digest)
		}
		img.layers[desc.Digest] = &layer{desc: desc, diffID: diffIDs[i], source: source}
	}
	return partial.CompressedToImage(img)
}

func checkLayer(desc v1.Descriptor, diffID v1.Hash) error {
	for _, digest := range []v1.Hash{desc.Digest, diffID} {
		if err := checkAlgorithm(digest); err != nil {
			return err
		}
	}
	if desc.Size < 0 {
		return fmt.Errorf("size %d is negative", desc.Size)
	}
	if !desc.MediaType.IsLayer() {
		return fmt.Errorf("media type %q is not one of a file system layer", desc.MediaType)
	}
	return nil
}

// checkAlgorithm refuses what nobody here computes. Registries and builders
// write sha256 only; the specification allows sha512 as well.
func checkAlgorithm(digest v1.Hash) error {
	if digest.Algorithm != "sha256" {
		return fmt.Errorf("digest algorithm %q is not supported", digest.Algorithm)
	}
	return nil
}

// image is what partial.CompressedToImage makes a v1.Image of.
type image struct {
	documents
	layers map[v1.Hash]*layer
}

func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *image) RawManifest() ([]byte, error)        { return i.rawManifest, nil }
func (i *image) RawConfigFile() ([]byte, error)      { return i.rawConfig, nil }

func (i *image) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	if l, ok := i.layers[digest]; ok {
		return l, nil
	}
	return nil, fmt.Errorf("image has no layer %s", digest)
}

// layer has the diff ID of the image's configuration. go-containerregistry would
// unpack the layer to compute one, which takes as long as its use and can never
// be wrong.
type layer struct {
	desc   v1.Descriptor
	diffID v1.Hash
	source Source
}

func (l *layer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	r, err := l.source(l.desc)
	if err != nil {
		return nil, Printable(err)
	}
	return r, nil
}
