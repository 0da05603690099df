package rootfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// maxIndexDepth bounds how deep an index may stand in an index. Digests rule
// cycles out, but they are checked only as far as one reads.
const maxIndexDepth = 4

// loadLayout picks the image for platform from the OCI image layout in dir
// (image-layout.md of the OCI image specification). Unlike
// go-containerregistry, which trusts local files, it checks digest and size of
// what it reads.
func loadLayout(dir string, platform v1.Platform) (v1.Image, error) {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return nil, fmt.Errorf("no OCI image layout: %w", err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("open index.json: %w", err)
	}
	s := selection{platform: platform, images: map[v1.Hash]v1.Image{}}
	if err := s.add(index, 0); err != nil {
		return nil, err
	}
	switch len(s.images) {
	case 0:
		return nil, fmt.Errorf("no image for %q, the layout has %s", platform.String(), quoted(s.others))
	case 1:
		for _, img := range s.images {
			return img, nil
		}
	}
	return nil, fmt.Errorf("%d images for %q, want one", len(s.images), platform.String())
}

// selection is what a walk of the index found.
type selection struct {
	platform v1.Platform
	images   map[v1.Hash]v1.Image
	others   []string // platforms of the images that do not fit
}

func (s *selection) add(index v1.ImageIndex, depth int) error {
	if depth > maxIndexDepth {
		return fmt.Errorf("index in an index in more than %d levels", maxIndexDepth)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	for _, desc := range manifest.Manifests {
		switch {
		case desc.MediaType.IsIndex():
			child, err := index.ImageIndex(desc.Digest)
			if err != nil {
				return fmt.Errorf("read index %s: %w", desc.Digest, err)
			}
			if err := verify(desc, child.RawManifest); err != nil {
				return fmt.Errorf("read index %s: %w", desc.Digest, err)
			}
			if err := s.add(child, depth+1); err != nil {
				return err
			}
		case desc.MediaType.IsImage():
			img, err := index.Image(desc.Digest)
			if err != nil {
				return fmt.Errorf("read image %s: %w", desc.Digest, err)
			}
			if err := s.addImage(desc, img); err != nil {
				return fmt.Errorf("read image %s: %w", desc.Digest, err)
			}
		}
	}
	return nil
}

// addImage takes the platform from the descriptor where it has one, else from
// the image's configuration.
func (s *selection) addImage(desc v1.Descriptor, img v1.Image) error {
	if desc.Platform != nil && !desc.Platform.Satisfies(s.platform) {
		s.others = append(s.others, desc.Platform.String())
		return nil
	}
	if err := verify(desc, img.RawManifest); err != nil {
		return err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if err := verify(manifest.Config, img.RawConfigFile); err != nil {
		return fmt.Errorf("read image configuration: %w", err)
	}
	if desc.Platform == nil {
		config, err := img.ConfigFile()
		if err != nil {
			return fmt.Errorf("read image configuration: %w", err)
		}
		if got := config.Platform(); !got.Satisfies(s.platform) {
			s.others = append(s.others, got.String())
			return nil
		}
	}
	s.images[desc.Digest] = img
	return nil
}

// verify checks a document against its descriptor.
func verify(desc v1.Descriptor, read func() ([]byte, error)) error {
	data, err := read()
	if err != nil {
		return err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if digest != desc.Digest || size != desc.Size {
		return fmt.Errorf("got digest %s and size %d, want %s and %d", digest, size, desc.Digest, desc.Size)
	}
	return nil
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return fmt.Sprintf("%q", strings.Join(names, ", "))
}
