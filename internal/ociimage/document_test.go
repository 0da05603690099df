package ociimage

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type (
	manifestFn = func(*v1.Manifest, *v1.ConfigFile)
	// make returns the manifests of a layout with something wrong in it.
	makeFn = func(m memory) []v1.Descriptor
)

// imageWith is a layout of one image that change broke.
func imageWith(t *testing.T, change manifestFn) makeFn {
	return func(m memory) []v1.Descriptor {
		return []v1.Descriptor{m.image(t, amd64, []v1.Descriptor{m.layer("1"), m.layer("2")}, change)}
	}
}

// rawImage is a layout of one image whose configuration, or else manifest, is
// that text. CONFIG in a manifest stands for the descriptor of a good one.
func rawImage(mediaType types.MediaType, text string) makeFn {
	return func(m memory) []v1.Descriptor {
		config := `{"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}`
		manifest := `{"schemaVersion": 2, "config": CONFIG, "layers": []}`
		if mediaType.IsConfig() {
			config = text
		} else {
			manifest = text
		}
		desc := m.blob(types.OCIConfigJSON, []byte(config))
		reference := fmt.Sprintf(`{"mediaType": %q, "digest": %q, "size": %d}`, desc.MediaType, desc.Digest, desc.Size)
		return []v1.Descriptor{m.blob(mediaTypeOr(mediaType), []byte(strings.ReplaceAll(manifest, "CONFIG", reference)))}
	}
}

func mediaTypeOr(mediaType types.MediaType) types.MediaType {
	if mediaType.IsConfig() {
		return types.OCIManifestSchema1
	}
	return mediaType
}

func changed(desc v1.Descriptor, change func(*v1.Descriptor)) []v1.Descriptor {
	change(&desc)
	return []v1.Descriptor{desc}
}

func TestRejectsDocuments(t *testing.T) {
	const manifestType, indexType, configType = types.OCIManifestSchema1, types.OCIImageIndex, types.OCIConfigJSON
	deep := strings.Repeat(`{"a":`, maxNesting) + "{}" + strings.Repeat("}", maxNesting)
	tests := []struct {
		name string
		make makeFn
		want string
	}{
		// What an index says.
		{"no manifests", func(memory) []v1.Descriptor { return nil }, `no image is for "linux/amd64", there is []`},
		{"other platform in the index",
			func(m memory) []v1.Descriptor { return []v1.Descriptor{on(m.image(t, arm64, nil), arm64)} },
			`no image is for "linux/amd64", there is ["linux/arm64"]`},
		{"other platform in the configuration", func(m memory) []v1.Descriptor { return []v1.Descriptor{m.image(t, arm64, nil)} },
			`no image is for "linux/amd64", there is ["linux/arm64"]`},
		{"index says amd64, child is arm64",
			func(m memory) []v1.Descriptor { return []v1.Descriptor{on(m.image(t, arm64, nil), amd64)} },
			`index says it is for "linux/amd64", its configuration says for "linux/arm64"`},
		{"other operating system", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, v1.Platform{OS: "windows", Architecture: "amd64"}, nil)}
		}, `there is ["windows/amd64"]`},
		{"no operating system", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, v1.Platform{Architecture: "amd64"}, nil)}
		},
			`there is [""]`},
		{"no architecture", func(m memory) []v1.Descriptor { return []v1.Descriptor{m.image(t, v1.Platform{OS: "linux"}, nil)} },
			`there is ["linux"]`},
		{"other platform in the index, none in the configuration",
			func(m memory) []v1.Descriptor { return []v1.Descriptor{on(m.image(t, v1.Platform{}, nil), arm64)} },
			`no image is for "linux/amd64", there is ["linux/arm64"]`},
		{"two images without a platform", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, v1.Platform{}, nil), m.image(t, v1.Platform{}, []v1.Descriptor{m.layer("b")})}
		}, `2 images are for "linux/amd64", want one`},
		{"two images for the platform", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, amd64, nil), m.image(t, v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}, nil)}
		}, `2 images are for "linux/amd64", want one`},
		{"only artifacts", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, amd64, nil, func(manifest *v1.Manifest, _ *v1.ConfigFile) { manifest.Config.MediaType = "application/\x1b" })}
		}, `there is ["application/\x1b"]`},
		{"schema version 1 by media type", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{m.blob(types.DockerManifestSchema1Signed, []byte("{}"))}
		}, `there is ["application/vnd.docker.distribution.manifest.v1+prettyjws"]`},
		{"unknown media type",
			func(m memory) []v1.Descriptor { return []v1.Descriptor{m.blob("text/plain\n", []byte("x"))} }, `there is ["text/plain\n"]`},
		{"index in an index in six levels", func(m memory) []v1.Descriptor {
			desc := m.image(t, amd64, nil)
			for range maxDepth + 2 {
				desc = m.index(t, desc)
			}
			return []v1.Descriptor{desc}
		}, "index in an index in more than 4 levels"},
		{"more documents than anybody has", func(m memory) (all []v1.Descriptor) {
			for i := range maxDocuments {
				all = append(all, m.image(t, v1.Platform{OS: fmt.Sprint(i)}, nil))
			}
			return all
		}, "more than 1000 documents"},

		// Digests and sizes.
		{"manifest missing", func(m memory) []v1.Descriptor {
			return []v1.Descriptor{{MediaType: manifestType, Size: 1, Digest: digestOf(nil)}}
		}, "read image " + digestOf(nil).String() + ": file does not exist"},
		{"digest lie", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { m["blobs/sha256/"+d.Digest.Hex] = []byte("{}"); d.Size = 2 })
		}, "got digest " + digestOf([]byte("{}")).String() + " and size 2, want sha256:"},
		{"size is too small", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { d.Size -= 2 })
		}, "got more than "},
		{"size is too large", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { d.Size++ })
		}, " and size "},
		{"negative size", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { d.Size = -1 })
		}, "size -1 is not one of a document, at most 4194304"},
		{"manifest of 100 MB", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { d.Size = 100 << 20 })
		}, "size 104857600 is not one of a document, at most 4194304"},
		{"configuration of 100 MB", rawImage(manifestType, `{"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 104857600,
			"digest": "`+digestOf(nil).String()+`"}, "layers": []}`), "read configuration " + digestOf(nil).String() + ": size 104857600 is not one of a document"},
		{"sha512", func(m memory) []v1.Descriptor {
			return changed(m.image(t, amd64, nil), func(d *v1.Descriptor) { d.Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)} })
		}, `digest algorithm "sha512" is not supported`},
		{"configuration digest lie", func(m memory) []v1.Descriptor {
			img := m.image(t, amd64, nil)
			for name, data := range m {
				if strings.Contains(string(data), "rootfs") {
					m[name] = append(data, '\n')
				}
			}
			return []v1.Descriptor{img}
		}, "got more than "},
		{"configuration changed", func(m memory) []v1.Descriptor {
			img := m.image(t, amd64, nil)
			for name, data := range m {
				m[name] = []byte(strings.Replace(string(data), `"linux"`, `"LINUX"`, 1))
			}
			return []v1.Descriptor{img}
		}, "read configuration sha256:"},

		// What a manifest says.
		{"schemaVersion 1", rawImage(manifestType, `{"schemaVersion": 1, "config": CONFIG, "layers": []}`),
			"schema version is 1, want 2"},
		{"schemaVersion missing", rawImage(manifestType, `{"config": CONFIG, "layers": []}`), "schema version is 0, want 2"},
		{"media type of an index",
			rawImage(manifestType, `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "config": CONFIG}`),
			`media type is "application/vnd.oci.image.index.v1+json", want "application/vnd.oci.image.manifest.v1+json"`},
		{"manifest that is an index too",
			rawImage(manifestType, `{"schemaVersion": 2, "config": CONFIG, "layers": [], "manifests": []}`), "manifest has manifests"},
		{"manifest with layers of version 1",
			rawImage(manifestType, `{"schemaVersion": 2, "config": CONFIG, "fsLayers": []}`), "layers of schema version 1"},
		{"index that is a manifest too", rawImage(indexType, `{"schemaVersion": 2, "manifests": [], "layers": []}`),
			"index has a configuration or layers"},
		{"index of schemaVersion 1", rawImage(indexType, `{"schemaVersion": 1, "manifests": []}`), "schema version is 1, want 2"},
		{"unknown digest algorithm", rawImage(indexType, `{"schemaVersion": 2, "manifests": [{"digest": "md5:00"}]}`),
			`parse JSON: unsupported hash: "md5"`},
		{"digest is a path", rawImage(indexType, `{"schemaVersion": 2, "manifests": [{"digest": "sha256:../../x"}]}`),
			"parse JSON: found non-hex character in hash"},

		// Layers.
		{"no diff IDs", imageWith(t, func(_ *v1.Manifest, c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }),
			"read configuration: got 0 diff IDs, want 2 as there are layers"},
		{"too many diff IDs", imageWith(t, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers = m.Layers[:1] }),
			"read configuration: got 2 diff IDs, want 1 as there are layers"},
		{"diff ID in sha512", imageWith(t, func(_ *v1.Manifest, c *v1.ConfigFile) {
			c.RootFS.DiffIDs[1] = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)}
		}), "read layer 2, " + digestOf([]byte("2")).String() + `: digest algorithm "sha512" is not supported`},
		{"rootfs of no layers", imageWith(t, func(_ *v1.Manifest, c *v1.ConfigFile) { c.RootFS.Type = "base" }),
			`rootfs is of type "base", want layers`},
		{"encrypted layer", imageWith(t, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[1].MediaType += "+encrypted" }),
			"read layer 2, " + digestOf([]byte("2")).String() + `: media type "application/vnd.oci.image.layer.v1.tar+encrypted" is not one of a file system layer`},
		{"layer of an unknown media type",
			imageWith(t, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[0].MediaType = "application/wasm" }), `media type "application/wasm" is not one of`},
		{"layer of negative size", imageWith(t, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[0].Size = -1 }),
			"size -1 is negative"},
		{"one layer, two diff IDs", imageWith(t, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[1] = m.Layers[0] }),
			"it stands there twice, with different diff IDs or sizes"},

		// JSON.
		{"no JSON", rawImage(manifestType, "<html>"), "parse JSON: invalid character '<'"},
		{"empty", rawImage(manifestType, ""), "parse JSON: unexpected EOF"},
		{"cut", rawImage(manifestType, `{"schemaVersion": 2`), "parse JSON: unexpected EOF"},
		{"null", rawImage(manifestType, "null"), "schema version is 0, want 2"},
		{"data behind the value", rawImage(manifestType, `{"schemaVersion": 2, "config": CONFIG} {}`),
			"parse JSON: data behind the value"},
		{"number as a key", rawImage(manifestType, `{1: 2}`), "parse JSON: "},
		{"string for a number", rawImage(manifestType, `{"schemaVersion": "2"}`), "parse JSON: json: cannot unmarshal string"},
		{"duplicate keys", rawImage(configType, `{"os": "linux", "architecture": "amd64", "architecture": "arm64"}`),
			`parse JSON: key "architecture" stands there twice`},
		{"duplicate keys but for case",
			rawImage(configType, `{"os": "linux", "architecture": "amd64", "Architecture": "arm64"}`), `parse JSON: key "Architecture" stands there twice`},
		{"duplicate keys that encoding/json folds", rawImage(configType, "{\"os\": \"linux\", \"o\u017f\": \"windows\"}"),
			"parse JSON: key \"o\u017f\" stands there twice"},
		{"duplicate labels", rawImage(configType, `{"config": {"Labels": {"a": "1", "\u0061": "2"}}}`),
			`parse JSON: key "a" stands there twice`},
		{"deep nesting", rawImage(configType, deep), "parse JSON: nested in more than 32 levels"},
		{"nesting without an end", rawImage(configType, strings.Repeat("[", 1<<20)), "parse JSON: nested in more than 32 levels"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := memory{}
			_, err := openLayout(m.layout(t, test.make(m)...), amd64, anyone)
			checkError(t, err, test.want)
			if text := Printable(err).Error(); strings.ContainsAny(text, "\x1b\x07") {
				t.Errorf("error %q has control characters", text)
			}
		})
	}
}

// TestUnknownFields is about documents of a later specification.
func TestUnknownFields(t *testing.T) {
	for _, make := range []makeFn{
		rawImage(types.OCIManifestSchema1, `{"schemaVersion": 2, "config": CONFIG, "layers": [], "new": {"a": [1, {}]}}`),
		rawImage(types.OCIConfigJSON, `{"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, "moby.buildkit.cache.v0": "x"}`),
	} {
		m := memory{}
		if _, err := openLayout(m.layout(t, make(m)...), amd64, anyone); err != nil {
			t.Error(err)
		}
	}
}

// TestIndexLaughs is about an index of small indexes that has a million ends.
func TestIndexLaughs(t *testing.T) {
	m := memory{}
	want := m.image(t, amd64, []v1.Descriptor{m.layer("1")})
	desc := want
	for range maxDepth {
		all := make([]v1.Descriptor, 1000)
		for i := range all {
			all[i] = desc
		}
		desc = m.index(t, all...)
	}
	img, err := openLayout(m.layout(t, desc), amd64, anyone)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img, want.Digest, "1")
}

// TestIndexCycle is about a source that lies about digests: a true index cannot
// hold its own.
func TestIndexCycle(t *testing.T) {
	desc := v1.Descriptor{MediaType: types.OCIImageIndex, Size: 200, Digest: digestOf([]byte("cycle"))}
	raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{desc}})
	if err != nil {
		t.Fatal(err)
	}
	desc.Size = int64(len(raw))
	m := memory{"blobs/sha256/" + desc.Digest.Hex: raw}
	_, err = openLayout(m.layout(t, desc), amd64, anyone)
	checkError(t, err, "read index "+desc.Digest.String()+": got digest sha256:")
}

func TestResolve(t *testing.T) {
	m := memory{}
	amd := m.image(t, amd64, []v1.Descriptor{m.layer("1")})
	source := func(desc v1.Descriptor) (io.ReadCloser, error) { return m.open("blobs/sha256/" + desc.Digest.Hex) }
	for _, root := range []v1.Descriptor{amd, m.index(t, amd)} {
		img, err := Resolve(root, amd64, anyone, source)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, amd.Digest, "1")
	}
	_, err := Resolve(amd, arm64, anyone, source)
	checkError(t, err, `no image is for "linux/arm64", there is ["linux/amd64"]`)
	_, err = Resolve(m.index(t, amd), amd64, digestOf(nil), source)
	checkError(t, err, "no manifest has digest "+digestOf(nil).String())
}

func TestLayoutHeader(t *testing.T) {
	for name, test := range map[string]struct{ file, content, want string }{
		"no version":    {layoutFile, "{}", `version is "", want 1.0.0`},
		"later version": {layoutFile, `{"imageLayoutVersion": "2.0.0\u001b"}`, `version is "2.0.0\x1b", want 1.0.0`},
		"no JSON":       {layoutFile, "1.0.0", "read oci-layout of OCI image layout: parse JSON: "},
		"header of 5 MB": {layoutFile, strings.Repeat(" ", 5<<20),
			"read oci-layout of OCI image layout: got more than 4194304 bytes"},
		"index of 5 MB":      {"index.json", strings.Repeat(" ", 5<<20), "read index.json: got more than 4194304 bytes"},
		"index of version 1": {"index.json", `{"schemaVersion": 1}`, "read index.json: schema version is 1, want 2"},
		"index is a manifest": {"index.json",
			`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}`, "read index.json: media type is "},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory{}
			m.layout(t, m.image(t, amd64, nil))[test.file] = []byte(test.content)
			_, err := openLayout(m, amd64, anyone)
			checkError(t, err, test.want)
		})
	}
	m := memory{}
	m.layout(t, m.image(t, amd64, nil))
	delete(m, "index.json")
	_, err := openLayout(m, amd64, anyone)
	checkError(t, err, "read index.json: file does not exist")
}
