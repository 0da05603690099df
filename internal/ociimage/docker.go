package ociimage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerFile marks an archive of `docker save`. Archives of before Docker 1.10
// do not have it.
const dockerFile = "manifest.json"

// dockerImage is an element of manifest.json. It names files of the archive.
type dockerImage struct {
	Config string
	Layers []string // the lowest first
}

var hexDigest = regexp.MustCompile(`[0-9a-f]{64}`)

// openDocker makes a manifest for the only image of the archive. What holds its
// parts together is the configuration, whose diff IDs say what the layers are.
func openDocker(a *archive, platform v1.Platform) (v1.Image, error) {
	var images []dockerImage
	raw, err := readFile(a, dockerFile)
	if err == nil {
		err = decode(raw, &images)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dockerFile, err)
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("read %s: got %d images, want one", dockerFile, len(images))
	}
	img := images[0]
	rawConfig, config, configDesc, err := readDockerConfig(a, img.Config)
	if err != nil {
		return nil, fmt.Errorf("read configuration %.200q: %w", img.Config, err)
	}
	if got := platformOf(config); !fits(got, platform) {
		return nil, fmt.Errorf("no image is for %q, there is %q", platform.String(), []string{got.String()})
	}
	manifest := &v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2, Config: configDesc}
	names := map[v1.Hash]string{}
	for i, name := range img.Layers {
		desc, err := describeLayer(a, name)
		if err != nil {
			return nil, fmt.Errorf("read layer %d, %.200q: %w", i+1, name, err)
		}
		if i < len(config.RootFS.DiffIDs) && desc.Digest == config.RootFS.DiffIDs[i] {
			desc.MediaType = types.DockerUncompressedLayer
		}
		names[desc.Digest] = name
		manifest.Layers = append(manifest.Layers, desc)
	}
	rawManifest, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("make manifest: %w", err)
	}
	docs := documents{manifest.MediaType, rawManifest, manifest, rawConfig, config}
	return newImage(docs, func(desc v1.Descriptor) (io.ReadCloser, error) { return a.open(names[desc.Digest]) })
}

// readDockerConfig checks the digest that is in the file's name, which is the
// image's ID.
func readDockerConfig(a *archive, name string) (raw []byte, config *v1.ConfigFile, desc v1.Descriptor, err error) {
	if raw, err = readFile(a, name); err != nil {
		return nil, nil, desc, err
	}
	if config, err = parseConfig(raw); err != nil {
		return nil, nil, desc, err
	}
	digest := digestOf(raw)
	if want := hexDigest.FindString(path.Base(name)); want != "" && want != digest.Hex {
		return nil, nil, desc, fmt.Errorf("got digest %s, its name says sha256:%s", digest, want)
	}
	return raw, config, v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(raw)), Digest: digest}, nil
}

func describeLayer(a *archive, name string) (desc v1.Descriptor, err error) {
	r, err := a.open(name)
	if err != nil {
		return desc, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	digest, size, err := v1.SHA256(r)
	return v1.Descriptor{MediaType: types.DockerLayer, Size: size, Digest: digest}, err
}
