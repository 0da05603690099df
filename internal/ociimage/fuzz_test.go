package ociimage

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FuzzOpen opens a layout of any documents. MANIFEST in the index and CONFIG in
// the manifest stand for true descriptors of the others, which no fuzzer finds.
func FuzzOpen(f *testing.F) {
	const (
		index    = `{"schemaVersion": 2, "manifests": [MANIFEST]}`
		manifest = `{"schemaVersion": 2, "config": CONFIG, "layers": []}`
		layered  = `{"schemaVersion": 2, "config": CONFIG, "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1,
			"digest": "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}]}`
		config = `{"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}`
	)
	f.Add(index, manifest, config)
	f.Add(index, layered, strings.Replace(config, "[]", `["sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"]`, 1))
	f.Add(`{"schemaVersion": 2, "manifests": [MANIFEST, MANIFEST, {"mediaType": "application/vnd.oci.image.index.v1+json"}]}`, manifest, config)
	f.Add(`{"schemaVersion": 1, "manifests": null}`, `{"schemaVersion": 2, "manifests": [], "layers": []}`, `{"os": "linux", "OS": "\u001b"}`)
	f.Add(strings.Repeat("[", 100), strings.Repeat(`{"a":`, 100), "null")
	f.Fuzz(func(t *testing.T, index, manifest, config string) {
		m := memory{}
		describe := func(mediaType types.MediaType, text string) string {
			desc := m.blob(mediaType, []byte(text))
			return fmt.Sprintf(`{"mediaType": %q, "size": %d, "digest": %q}`, mediaType, desc.Size, desc.Digest)
		}
		manifest = strings.ReplaceAll(manifest, "CONFIG", describe(types.OCIConfigJSON, config))
		m["index.json"] = []byte(strings.ReplaceAll(index, "MANIFEST", describe(types.OCIManifestSchema1, manifest)))
		m[layoutFile] = []byte(`{"imageLayoutVersion": "1.0.0"}`)
		img, err := openLayout(m, amd64, anyone)
		if err != nil {
			checkPrintable(t, err)
			return
		}
		checkOpened(t, img)
	})
}

// FuzzOpenArchive opens an archive of any bytes.
func FuzzOpenArchive(f *testing.F) {
	add := func(m memory) {
		data, err := os.ReadFile(m.archive(f))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	oci := memory{}
	add(oci.layout(f, oci.image(f, amd64, []v1.Descriptor{oci.layer("1")})))
	docker := memory{"layer.tar": []byte("1")}
	docker.docker(f, amd64, []v1.Hash{digestOf([]byte("1"))}, "layer.tar")
	add(docker)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := Open(path, amd64, anyone)
		if err != nil {
			checkPrintable(t, err)
			return
		}
		checkOpened(t, img)
	})
}

func checkPrintable(t *testing.T, err error) {
	t.Helper()
	for _, r := range Printable(err).Error() {
		if r < ' ' && r != '\n' || r == 0x7f {
			t.Fatalf("error %q has a control character", err)
		}
	}
}

// checkOpened checks what must hold of every image that Open returns.
func checkOpened(t *testing.T, img v1.Image) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" {
		t.Errorf("image is for %s/%s", config.OS, config.Architecture)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := img.Digest(); err != nil || digest != digestOf(raw) {
		t.Errorf("image has digest %s, %v, want %s", digest, err, digestOf(raw))
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		t.Errorf("got %d layers, %d diff IDs", len(layers), len(config.RootFS.DiffIDs))
	}
	for i, layer := range layers {
		if diffID, err := layer.DiffID(); err != nil || diffID != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d has diff ID %s, %v, want %s", i+1, diffID, err, config.RootFS.DiffIDs[i])
		}
		r, err := layer.Compressed()
		if err != nil {
			continue // a layout need not have it
		}
		if _, err := io.Copy(&bytes.Buffer{}, r); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
