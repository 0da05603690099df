package ociimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// docker adds a configuration and a manifest.json for layers, which are files of
// the archive, and returns the digest of the configuration.
func (m memory) docker(t testing.TB, platform v1.Platform, diffIDs []v1.Hash, layers ...string) v1.Hash {
	t.Helper()
	config, err := json.Marshal(&v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs}})
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(config)
	m[digest.Hex+".json"] = config
	manifest, err := json.Marshal([]dockerImage{{Config: digest.Hex + ".json", Layers: layers}})
	if err != nil {
		t.Fatal(err)
	}
	m[dockerFile] = manifest
	return digest
}

func TestDockerArchive(t *testing.T) {
	one, two := digestOf([]byte("1")), digestOf([]byte("2"))
	m := memory{"a/layer.tar": []byte("1"), "b/layer.tar": []byte("2")}
	config := m.docker(t, amd64, []v1.Hash{one, two, one, one}, "a/layer.tar", "b/layer.tar", "c/layer.tar", "d/layer.tar")
	path := m.archive(t,
		tar.Header{Name: "a/", Typeflag: tar.TypeDir},
		tar.Header{Name: "c/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"},
		tar.Header{Name: "d/layer.tar", Typeflag: tar.TypeLink, Linkname: "c/layer.tar"})
	img, err := Open(path, amd64, anyone)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img, anyone, "1", "2", "1", "1")
	if got, err := img.ConfigName(); got != config || err != nil {
		t.Errorf("got image ID %s, %v, want %s", got, err, config)
	}
	layer := func(digest v1.Hash) v1.Descriptor {
		return v1.Descriptor{MediaType: types.DockerUncompressedLayer, Size: 1, Digest: digest}
	}
	want := &v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(m[config.Hex+".json"])), Digest: config},
		Layers: []v1.Descriptor{layer(one), layer(two), layer(one), layer(one)}}
	got, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}

	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, amd64, digest)
	checkError(t, err, "no manifest has digest "+digest.String()+", since an archive of docker save has no manifest")
	_, err = Open(path, arm64, anyone)
	checkError(t, err, `no image is for "linux/arm64", there is ["linux/amd64"]`)
}

func TestDockerArchiveCompressedLayer(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m := memory{"layer.tar.gz": b.Bytes()}
	m.docker(t, v1.Platform{}, // as `crane append` makes one
		[]v1.Hash{digestOf([]byte("1"))}, "layer.tar.gz")
	img, err := Open(m.archive(t), amd64, anyone)
	if err != nil {
		t.Fatal(err)
	}
	got, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := []v1.Descriptor{{MediaType: types.DockerLayer, Size: int64(b.Len()), Digest: digestOf(b.Bytes())}}
	if diff := cmp.Diff(want, got.Layers); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
}

// TestArchiveIsBoth is about archives of Docker 25 and later.
func TestArchiveIsBoth(t *testing.T) {
	m := memory{}
	amd := m.image(t, amd64, []v1.Descriptor{m.layer("1")})
	m.layout(t, amd)
	m[dockerFile] = []byte("[]")
	img, err := Open(m.archive(t), amd64, amd.Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img, amd.Digest, "1")
}

func TestRejectsDockerArchives(t *testing.T) {
	one := digestOf([]byte("1"))
	tests := []struct {
		name   string
		change func(m memory)
		want   string
	}{
		{"no images", func(m memory) { m[dockerFile] = []byte("[]") }, "read manifest.json: got 0 images, want one"},
		{"two images", func(m memory) { m[dockerFile] = []byte("[{}, {}]") }, "read manifest.json: got 2 images, want one"},
		{"no JSON", func(m memory) { m[dockerFile] = []byte("{") }, "read manifest.json: parse JSON: unexpected EOF"},
		{"duplicate keys", func(m memory) { m[dockerFile] = []byte(`[{"Config": "a", "config": "b"}]`) },
			`key "config" stands there twice`},
		{"no configuration", func(m memory) { m[dockerFile] = []byte("[{}]") },
			`read configuration "": open in archive : file does not exist`},
		{"configuration outside", func(m memory) { m[dockerFile] = []byte(`[{"Config": "../../etc/passwd"}]`) },
			`read configuration "../../etc/passwd": open in archive ../../etc/passwd: file does not exist`},
		{"configuration changed", func(m memory) {
			for name, data := range m {
				m[name] = bytes.Replace(data, []byte("os"), []byte("OS"), 1)
			}
		}, ", its name says sha256:"},
		{"layer missing", func(m memory) { delete(m, "layer.tar") },
			`read layer 1, "layer.tar": open in archive layer.tar: file does not exist`},
		{"layer is of control characters",
			func(m memory) { m[dockerFile] = bytes.Replace(m[dockerFile], []byte("layer.tar"), []byte(`\u001b`), 1) }, `read layer 1, "\x1b": open in archive \x1b: `},
		{"more layers than diff IDs", func(m memory) { m.docker(t, amd64, []v1.Hash{one}, "layer.tar", "layer.tar") },
			"got 1 diff IDs, want 2 as there are layers"},
		{"more diff IDs than layers", func(m memory) { m.docker(t, amd64, []v1.Hash{one, one}, "layer.tar") },
			"got 2 diff IDs, want 1 as there are layers"},
		{"archive before Docker 1.10", func(m memory) { delete(m, dockerFile) },
			"archive has neither oci-layout nor manifest.json"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := memory{"layer.tar": []byte("1")}
			m.docker(t, amd64, []v1.Hash{one}, "layer.tar")
			test.change(m)
			_, err := Open(m.archive(t), amd64, anyone)
			checkError(t, err, test.want)
		})
	}
}

func TestRejectsArchives(t *testing.T) {
	m := memory{"layer.tar": []byte("1")}
	m.docker(t, amd64, []v1.Hash{digestOf([]byte("1"))}, "layer.tar")
	many := make([]tar.Header, maxEntries)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprint("d", i, "/"), Typeflag: tar.TypeDir}
	}
	for name, test := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"same path twice": {[]tar.Header{{Name: "./layer.tar", Size: 1}},
			`read entry "layer.tar": there are two of that name`},
		"link and file": {[]tar.Header{{Name: "layer.tar", Typeflag: tar.TypeSymlink, Linkname: "x"}},
			`read entry "layer.tar": there are two of that name`},
		"device node": {[]tar.Header{{Name: "null\x1b", Typeflag: tar.TypeChar}},
			`read entry "null\x1b": type '3' is not one of an image's archive`},
		"path over PATH_MAX": {[]tar.Header{{Name: strings.Repeat("long/", 820), Typeflag: tar.TypeDir}},
			"name has more than 4095 bytes"},
		"target over PATH_MAX": {[]tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("t", 4096)}},
			"name has more than 4095 bytes"},
		"too many entries": {many, "more than 16384 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(m.archive(t, test.headers...), amd64, anyone)
			checkError(t, err, test.want)
		})
	}

	t.Run("links", func(t *testing.T) {
		for name, target := range map[string]string{"cycle": "a", "outside": "../../../etc/passwd", "absolute": "/etc/passwd"} {
			m := memory{}
			m.docker(t, amd64, []v1.Hash{digestOf([]byte("1"))}, "a")
			_, err := Open(m.archive(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: target}), amd64, anyone)
			want := "file does not exist"
			if name == "cycle" {
				want = "it is behind more than 8 links"
			}
			checkError(t, err, `read layer 1, "a": open in archive a: `+want)
		}
	})

	whole, err := os.ReadFile(m.archive(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"compressed with gzip": {append([]byte{0x1f, 0x8b}, whole...), "it is compressed with gzip; decompress it first"},
		"compressed with zstd": {append([]byte{0x28, 0xb5, 0x2f, 0xfd}, whole...),
			"it is compressed with zstd; decompress it first"},
		"no tar":    {bytes.Repeat([]byte("x"), 1024), "read archive: archive/tar: invalid tar header"},
		"truncated": {whole[:600], "read archive: unexpected EOF"},
		"empty":     {nil, "archive has neither oci-layout nor manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(path, test.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, amd64, anyone)
			checkError(t, err, test.want)
		})
	}
}

// TestArchiveChanges is about an archive that is another one when its layers
// are read.
func TestArchiveChanges(t *testing.T) {
	m := memory{"layer.tar": []byte("1")}
	m.docker(t, amd64, []v1.Hash{digestOf([]byte("1"))}, "layer.tar")
	path := m.archive(t)
	img, err := Open(path, amd64, anyone)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layers[0].Compressed(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
}
