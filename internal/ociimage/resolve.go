package ociimage

import (
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxDepth bounds how deep an index may stand in an index. Digests rule
	// cycles out, but only as far as they are true.
	maxDepth = 4
	// maxDocuments bounds how many documents are read to find one image.
	maxDocuments = 1000
	// maxListed bounds how many things an error lists.
	maxListed = 10
)

// Resolve finds the image for platform that root is or that the index root leads
// to, with the checks of Open. Unless digest is zero, the image's manifest or an
// index on the way to it must have that digest.
func Resolve(root v1.Descriptor, platform v1.Platform, digest v1.Hash, source Source) (v1.Image, error) {
	img, err := resolve([]v1.Descriptor{root}, platform, digest, source)
	if err != nil {
		return nil, Printable(err)
	}
	return img, nil
}

func resolve(roots []v1.Descriptor, platform v1.Platform, digest v1.Hash, source Source) (v1.Image, error) {
	s := selection{source: source, platform: platform, digest: digest, seen: map[visit]bool{}}
	for _, root := range roots {
		if err := s.add(root, 0, digest == v1.Hash{}); err != nil {
			return nil, err
		}
	}
	if len(s.images) == 0 {
		if err := s.takeNameless(); err != nil {
			return nil, err
		}
	}
	switch {
	case len(s.images) == 1:
		return s.images[0], nil
	case len(s.images) > 1:
		return nil, fmt.Errorf("%d images are for %q, want one: name its digest, one of %v",
			len(s.images), platform.String(), listed(s.digests))
	case !s.found && digest != v1.Hash{}:
		return nil, fmt.Errorf("no manifest has digest %s", digest)
	}
	return nil, fmt.Errorf("no image is for %q, there is %q", platform.String(), listed(s.others))
}

func listed[T any](all []T) []T { return all[:min(len(all), maxListed)] }

// visit is a document, and whether the wanted digest was met on the way to it.
type visit struct {
	digest v1.Hash
	chosen bool
}

// selection is what a walk of an index found.
type selection struct {
	source    Source
	platform  v1.Platform
	digest    v1.Hash // that is wanted; zero is any
	found     bool    // something has that digest
	seen      map[visit]bool
	documents int // that were read
	images    []v1.Image
	digests   []v1.Hash   // of images
	nameless  []candidate // images of which nothing says for which platform they are
	others    []string    // platforms, or else media types, of what does not fit
}

// candidate is an image whose documents have been read.
type candidate struct {
	digest v1.Hash
	docs   documents
}

// add looks at one descriptor and what is below it. Only what is chosen, because
// it or an index above it has the wanted digest, can be the image.
func (s *selection) add(desc v1.Descriptor, depth int, chosen bool) error {
	if desc.Digest == s.digest {
		s.found, chosen = true, true
	}
	switch {
	case desc.MediaType.IsIndex():
		if err := s.addIndex(desc, depth, chosen); err != nil {
			return fmt.Errorf("read index %s: %w", desc.Digest, err)
		}
	case !chosen:
	case desc.MediaType.IsImage():
		if err := s.addImage(desc); err != nil {
			return fmt.Errorf("read image %s: %w", desc.Digest, err)
		}
	default:
		// An index may hold what its reader does not know (image-index.md).
		s.other(string(desc.MediaType))
	}
	return nil
}

func (s *selection) other(what string) {
	if !slices.Contains(listed(s.others), what) {
		s.others = append(s.others, what)
	}
}

func (s *selection) addIndex(desc v1.Descriptor, depth int, chosen bool) error {
	if depth > maxDepth {
		return fmt.Errorf("index in an index in more than %d levels", maxDepth)
	}
	// An index that names another one a thousand times, in several levels, is
	// small and would never end.
	if s.seen[visit{desc.Digest, chosen}] {
		return nil
	}
	s.seen[visit{desc.Digest, chosen}] = true
	raw, err := s.read(desc)
	if err != nil {
		return err
	}
	index, err := parseIndex(raw, desc.MediaType)
	if err != nil {
		return err
	}
	for _, child := range index.Manifests {
		if err := s.add(child, depth+1, chosen); err != nil {
			return err
		}
	}
	return nil
}

// addImage asks the platform of the descriptor first, if it has one: blobs of
// other platforms are often not there. What counts is the configuration.
func (s *selection) addImage(desc v1.Descriptor) error {
	if desc.Platform != nil && !fits(*desc.Platform, s.platform) {
		s.other(desc.Platform.String())
		return nil
	}
	if slices.Contains(s.digests, desc.Digest) {
		return nil
	}
	raw, err := s.read(desc)
	if err != nil {
		return err
	}
	manifest, err := parseManifest(raw, desc.MediaType)
	if err != nil {
		return err
	}
	if !manifest.Config.MediaType.IsConfig() {
		s.other(string(manifest.Config.MediaType)) // an artifact, such as a signature
		return nil
	}
	rawConfig, err := s.read(manifest.Config)
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", manifest.Config.Digest, err)
	}
	config, err := parseConfig(rawConfig)
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", manifest.Config.Digest, err)
	}
	if got := platformOf(config); !fits(got, s.platform) {
		if desc.Platform != nil {
			return fmt.Errorf("index says it is for %q, its configuration says for %q",
				desc.Platform.String(), got.String())
		}
		s.other(got.String())
		return nil
	}
	image := candidate{desc.Digest, documents{desc.MediaType, raw, manifest, rawConfig, config}}
	if isNameless(platformOf(config)) && (desc.Platform == nil || isNameless(*desc.Platform)) {
		s.nameless = append(s.nameless, image)
		return nil
	}
	return s.take(image)
}

func (s *selection) take(image candidate) error {
	if slices.Contains(s.digests, image.digest) {
		return nil
	}
	img, err := newImage(image.docs, s.source)
	if err != nil {
		return err
	}
	s.images, s.digests = append(s.images, img), append(s.digests, image.digest)
	return nil
}

// takeNameless is for when no image is for the platform by name. Beside such an
// image, one without a name is often not for running, such as a signature.
func (s *selection) takeNameless() error {
	for _, image := range s.nameless {
		if err := s.take(image); err != nil {
			return fmt.Errorf("read image %s: %w", image.digest, err)
		}
	}
	return nil
}

func (s *selection) read(desc v1.Descriptor) ([]byte, error) {
	if s.documents++; s.documents > maxDocuments {
		return nil, fmt.Errorf("more than %d documents", maxDocuments)
	}
	return readDocument(desc, s.source)
}

func platformOf(config *v1.ConfigFile) v1.Platform {
	return v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
}

// isNameless tells of a platform that names none, such as that of an image that
// was made of a tar only.
func isNameless(p v1.Platform) bool { return p.OS == "" && p.Architecture == "" }

// fits compares what decides whether a program runs. What one side leaves out is
// not known to differ: a variant, or system and architecture both.
func fits(got, want v1.Platform) bool {
	return (isNameless(got) || got.OS == want.OS && got.Architecture == want.Architecture) &&
		(got.Variant == "" || want.Variant == "" || got.Variant == want.Variant)
}
