package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/system/bundle"
)

// How a set stands in a registry, after OCI image-spec 1.1: an index with one
// manifest for each architecture, whose config is the set's manifest.json and
// whose layers are the architecture's files.
const (
	// SetType is the artifactType of the index and its manifests.
	SetType = "application/vnd.kindling.artifact-set.v1"
	// ManifestType is the media type of manifest.json.
	ManifestType = "application/vnd.kindling.manifest.v1+json"

	// titleKey is what tools such as oras name a file by.
	titleKey = "org.opencontainers.image.title"
	kindKey  = "io.github.kindling-vm.kind"
	setKey   = "io.github.kindling-vm.set"

	sbomType       = "application/vnd.cyclonedx+json"
	provenanceType = "application/vnd.in-toto+json"
	emptyType      = "application/vnd.oci.empty.v1+json"
	emptyConfig    = "{}"
)

// Bounds on what a registry may give.
const (
	maxDocument  = 4 << 20 // bytes of an index, a manifest or a manifest.json
	maxManifests = 16      // of an index
	maxLayers    = 64      // of a manifest
	maxFile      = 8 << 30 // bytes of a file
	maxReferrers = 32
)

// platforms are the architectures of sets as OCI names them.
var platforms = map[string]v1.Platform{
	"aarch64": {OS: "linux", Architecture: "arm64"},
	"x86_64":  {OS: "linux", Architecture: "amd64"},
}

// layerType is the media type of a file.
func layerType(kind bundle.Kind) types.MediaType {
	return types.MediaType("application/vnd.kindling." + string(kind) + ".v1")
}

// setTag is the tag by which a set is found by its ID.
func setTag(id string) string {
	return strings.Replace(id, "sha256:", "set-", 1)
}

// document is a manifest or an index, in its one form as bytes.
type document struct {
	raw        []byte
	descriptor v1.Descriptor
}

// RawManifest and MediaType are how a remote.Pusher sees it.
func (d document) RawManifest() ([]byte, error)        { return d.raw, nil }
func (d document) MediaType() (types.MediaType, error) { return d.descriptor.MediaType, nil }

func newDocument(kind types.MediaType, artifactType string, content any) (document, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return document{}, err
	}
	return document{raw, v1.Descriptor{
		MediaType: kind, Size: int64(len(raw)), Digest: hashOf(raw), ArtifactType: artifactType,
	}}, nil
}

func hashOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// newManifest gives the manifest of one architecture.
func newManifest(arch bundle.Architecture, config v1.Descriptor) (document, error) {
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: SetType, Config: config}
	for _, file := range arch.Files {
		manifest.Layers = append(manifest.Layers, v1.Descriptor{
			MediaType:   layerType(file.Kind),
			Size:        file.Size,
			Digest:      v1.Hash{Algorithm: "sha256", Hex: file.SHA256},
			Annotations: map[string]string{titleKey: file.Name, kindKey: string(file.Kind)},
		})
	}
	doc, err := newDocument(types.OCIManifestSchema1, SetType, manifest)
	platform := platforms[arch.Arch]
	doc.descriptor.Platform = &platform
	return doc, err
}

// newIndex gives the index of a set.
func newIndex(setID string, manifests []document) (document, error) {
	index := v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, ArtifactType: SetType,
		Annotations: map[string]string{setKey: setID},
	}
	for _, manifest := range manifests {
		index.Manifests = append(index.Manifests, manifest.descriptor)
	}
	return newDocument(types.OCIImageIndex, SetType, index)
}

// newReferrer gives a manifest that attaches a file to another document.
func newReferrer(artifactType, title string, digest v1.Hash, size int64, subject v1.Descriptor) (document, error) {
	return newDocument(types.OCIManifestSchema1, artifactType, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Config: v1.Descriptor{MediaType: emptyType, Size: int64(len(emptyConfig)), Digest: hashOf([]byte(emptyConfig))},
		Layers: []v1.Descriptor{{
			MediaType: types.MediaType(artifactType), Size: size, Digest: digest,
			Annotations: map[string]string{titleKey: title},
		}},
		// A subject has no platform or type of its own.
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
	})
}

// parseDocument reads one JSON document.
func parseDocument(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("more than one document")
	}
	return nil
}

// parseIndex reads a set's index and gives the manifests by architecture.
func parseIndex(data []byte) (map[string]v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := parseDocument(data, &index); err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	switch {
	case index.SchemaVersion != 2 || index.MediaType != types.OCIImageIndex:
		return nil, fmt.Errorf("parse index: it is a %.100q of version %d, want %q of version 2",
			index.MediaType, index.SchemaVersion, types.OCIImageIndex)
	case index.ArtifactType != SetType:
		return nil, fmt.Errorf("parse index: its artifact type is %.100q, want %q", index.ArtifactType, SetType)
	case len(index.Manifests) == 0 || len(index.Manifests) > maxManifests:
		return nil, fmt.Errorf("parse index: %d manifests, want 1 to %d", len(index.Manifests), maxManifests)
	}
	manifests := map[string]v1.Descriptor{}
	for _, descriptor := range index.Manifests {
		arch, err := archOf(descriptor.Platform)
		if err == nil {
			err = checkDescriptor(descriptor, types.OCIManifestSchema1, maxDocument)
		}
		if _, ok := manifests[arch]; err == nil && ok {
			err = fmt.Errorf("%s is there twice", arch)
		}
		if err != nil {
			return nil, fmt.Errorf("parse index: manifest %s: %w", descriptor.Digest, err)
		}
		manifests[arch] = descriptor
	}
	return manifests, nil
}

func archOf(platform *v1.Platform) (string, error) {
	if platform == nil {
		return "", errors.New("it has no platform")
	}
	for arch, known := range platforms {
		if platform.Equals(known) {
			return arch, nil
		}
	}
	return "", fmt.Errorf("platform %.100q is unknown", platform)
}

// parseManifest reads the manifest of one architecture.
func parseManifest(data []byte) (*v1.Manifest, error) {
	var manifest v1.Manifest
	if err := parseDocument(data, &manifest); err != nil {
		return nil, err
	}
	switch {
	case manifest.SchemaVersion != 2 || manifest.MediaType != types.OCIManifestSchema1:
		return nil, fmt.Errorf("it is a %.100q of version %d, want %q of version 2",
			manifest.MediaType, manifest.SchemaVersion, types.OCIManifestSchema1)
	case manifest.ArtifactType != SetType:
		return nil, fmt.Errorf("its artifact type is %.100q, want %q", manifest.ArtifactType, SetType)
	case len(manifest.Layers) > maxLayers:
		return nil, fmt.Errorf("%d layers, want at most %d", len(manifest.Layers), maxLayers)
	}
	if err := checkDescriptor(manifest.Config, ManifestType, maxDocument); err != nil {
		return nil, fmt.Errorf("config %s: %w", manifest.Config.Digest, err)
	}
	return &manifest, nil
}

// checkDescriptor checks that something is what it should be and stands in the
// registry itself.
func checkDescriptor(descriptor v1.Descriptor, kind types.MediaType, most int64) error {
	switch {
	case descriptor.MediaType != kind:
		return fmt.Errorf("media type %.100q, want %q", descriptor.MediaType, kind)
	case !isDigest(descriptor.Digest.String()):
		return fmt.Errorf("digest %.100q, want a SHA-256", descriptor.Digest)
	case descriptor.Size < 0 || descriptor.Size > most:
		return fmt.Errorf("size %d, want 0 to %d", descriptor.Size, most)
	case len(descriptor.URLs) > 0:
		return fmt.Errorf("it stands elsewhere (%.100q), want it in the registry", descriptor.URLs[0])
	}
	return nil
}

// checkLayers checks that the layers are the architecture's files, no more and no
// less.
func checkLayers(layers []v1.Descriptor, files []bundle.File) error {
	for _, layer := range layers {
		title := layer.Annotations[titleKey]
		i := slices.IndexFunc(files, func(file bundle.File) bool { return file.Name == title })
		if i < 0 {
			return fmt.Errorf("layer %s with title %.100q is no file of the set", layer.Digest, title)
		}
		file := files[i]
		if err := checkDescriptor(layer, layerType(file.Kind), maxFile); err != nil {
			return fmt.Errorf("layer %s (%s): %w", layer.Digest, file.Name, err)
		}
		if layer.Digest.Hex != file.SHA256 || layer.Size != file.Size {
			return fmt.Errorf("layer of %s is %s (%d bytes), want sha256:%s (%d bytes)",
				file.Name, layer.Digest, layer.Size, file.SHA256, file.Size)
		}
	}
	for _, file := range files {
		count := 0
		for _, layer := range layers {
			if layer.Annotations[titleKey] == file.Name {
				count++
			}
		}
		if count != 1 {
			return fmt.Errorf("%d layers are %s, want one", count, file.Name)
		}
	}
	return nil
}
