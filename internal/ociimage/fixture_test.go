package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var (
	amd64  = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64  = v1.Platform{OS: "linux", Architecture: "arm64"}
	anyone = v1.Hash{}
)

// memory is a layout or an archive that is not on disk: content by path.
type memory map[string][]byte

func (m memory) open(name string) (io.ReadCloser, error) {
	data, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// folder writes the files to a directory.
func (m memory) folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range m {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archive writes the files to a tar archive, behind the entries of headers.
func (m memory) archive(t testing.TB, headers ...tar.Header) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		headers = append(headers, tar.Header{Name: name, Size: int64(len(m[name])), Mode: 0o644})
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, header := range headers {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m[clean(header.Name)][:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// blob adds a blob and describes it.
func (m memory) blob(mediaType types.MediaType, data []byte) v1.Descriptor {
	digest := digestOf(data)
	m["blobs/sha256/"+digest.Hex] = data
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: digest}
}

func (m memory) document(t testing.TB, mediaType types.MediaType, value any) v1.Descriptor {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return m.blob(mediaType, data)
}

// layer adds an uncompressed layer, of bytes that need not be a tar here.
func (m memory) layer(text string) v1.Descriptor {
	return m.blob(types.OCIUncompressedLayer, []byte(text))
}

// image adds an image for platform of layers that are not compressed. Changes
// are made before the digests are.
func (m memory) image(
	t testing.TB, platform v1.Platform, layers []v1.Descriptor, changes ...func(*v1.Manifest, *v1.ConfigFile),
) v1.Descriptor {
	t.Helper()
	config := &v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant}
	config.RootFS.Type = "layers"
	manifest := &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: layers}
	manifest.Config.MediaType = types.OCIConfigJSON
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	for _, change := range changes {
		change(manifest, config)
	}
	manifest.Config = m.document(t, manifest.Config.MediaType, config)
	return m.document(t, types.OCIManifestSchema1, manifest)
}

func (m memory) index(t testing.TB, manifests ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return m.document(t, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
}

// layout adds what makes the files a layout of these manifests.
func (m memory) layout(t testing.TB, manifests ...v1.Descriptor) memory {
	t.Helper()
	data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: manifests})
	if err != nil {
		t.Fatal(err)
	}
	m["index.json"] = data
	m[layoutFile] = []byte(`{"imageLayoutVersion": "1.0.0"}`)
	return m
}

func on(desc v1.Descriptor, platform v1.Platform) v1.Descriptor {
	desc.Platform = &platform
	return desc
}

// checkImage compares an image's digest and the bytes of its layers, and what it
// says of them.
func checkImage(t *testing.T, img v1.Image, want v1.Hash, texts ...string) {
	t.Helper()
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want != (v1.Hash{}) && digest != want {
		t.Errorf("got image %s, want %s", digest, want)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != len(texts) {
		t.Fatalf("got %d layers, want %d", len(layers), len(texts))
	}
	for i, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != texts[i] {
			t.Errorf("layer %d holds %q, want %q", i+1, got, texts[i])
		}
		digest, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		diffID, err := layer.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		size, err := layer.Size()
		if err != nil {
			t.Fatal(err)
		}
		if want := digestOf(got); digest != want || diffID != want || size != int64(len(got)) {
			t.Errorf("layer %d has digest %s, diff ID %s, size %d; want %s, %d", i+1, digest, diffID, size, want, len(got))
		}
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v\nwant %s", err, want)
	}
}
