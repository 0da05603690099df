package registry

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/system/bundle"
)

// variant puts a set whose documents somebody changed, and gives its reference.
func (s *testSet) variant(t *testing.T, r *testRegistry, config string, changeManifest func(*v1.Manifest), changeIndex func(*v1.IndexManifest)) string {
	t.Helper()
	s.push(t, r)
	u := newUpload(t, r)
	ctx := t.Context()
	if err := u.putBlob(ctx, "config", []byte(config), ManifestType); err != nil {
		t.Fatal(err)
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, ArtifactType: SetType}
	for _, arch := range s.manifest.Architectures {
		doc, err := newManifest(arch, v1.Descriptor{MediaType: ManifestType, Size: int64(len(config)), Digest: hashOf([]byte(config))})
		if err != nil {
			t.Fatal(err)
		}
		var manifest v1.Manifest
		if err := parseDocument(doc.raw, &manifest); err != nil {
			t.Fatal(err)
		}
		if changeManifest != nil {
			changeManifest(&manifest)
		}
		platform := doc.descriptor.Platform
		if doc, err = newDocument(types.OCIManifestSchema1, SetType, manifest); err != nil {
			t.Fatal(err)
		}
		if err := u.put(ctx, "manifest", doc); err != nil {
			t.Fatal(err)
		}
		doc.descriptor.Platform = platform
		index.Manifests = append(index.Manifests, doc.descriptor)
	}
	if changeIndex != nil {
		changeIndex(&index)
	}
	doc, err := newDocument(types.OCIImageIndex, SetType, index)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.put(ctx, "index", doc); err != nil {
		t.Fatal(err)
	}
	return u.repo.Digest(doc.descriptor.Digest.String()).Name()
}

func TestMalformedSets(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	other := newSet(t, 2)
	other.push(t, r)
	good := set.content["manifest.json"]
	taken := newSet(t, 3)
	taken.manifest.Architectures[0].Files[0].Name = ".partial/x"
	takenNames, err := taken.manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	layer := func(change func(*v1.Descriptor)) func(*v1.Manifest) {
		return func(m *v1.Manifest) { change(&m.Layers[2]) }
	}
	tests := []struct {
		name     string
		config   string
		manifest func(*v1.Manifest)
		index    func(*v1.IndexManifest)
		want     string // "" for none
	}{
		{name: "nothing changed"},
		{name: "annotations more", manifest: func(m *v1.Manifest) { m.Annotations = map[string]string{"a": "b"} }},
		{name: "order of layers", manifest: func(m *v1.Manifest) { slices.Reverse(m.Layers) }},
		{name: "order of manifests", index: func(i *v1.IndexManifest) { slices.Reverse(i.Manifests) }},

		{name: "image index", index: func(i *v1.IndexManifest) { i.ArtifactType = "" }, want: `artifact type is "", want "application/vnd.kindling.artifact-set.v1"`},
		{name: "docker's index", index: func(i *v1.IndexManifest) { i.MediaType = types.DockerManifestList }, want: "vnd.docker.distribution.manifest.list"},
		{name: "index of version 1", index: func(i *v1.IndexManifest) { i.SchemaVersion = 1 }, want: "of version 1"},
		{name: "empty index", index: func(i *v1.IndexManifest) { i.Manifests = nil }, want: "0 manifests, want 1 to 16"},
		{name: "long index", index: func(i *v1.IndexManifest) { i.Manifests = slices.Repeat(i.Manifests, 9) }, want: "18 manifests"},
		{name: "architecture twice", index: func(i *v1.IndexManifest) { i.Manifests = append(i.Manifests, i.Manifests[1]) }, want: "x86_64 is there twice"},
		{name: "other platform", index: func(i *v1.IndexManifest) {
			i.Manifests[0].Platform = &v1.Platform{OS: "windows", Architecture: "amd64"}
		}, want: `platform "windows/amd64" is unknown`},
		{name: "no platform", index: func(i *v1.IndexManifest) { i.Manifests[0].Platform = nil }, want: "it has no platform"},
		{name: "docker's manifest", index: func(i *v1.IndexManifest) { i.Manifests[0].MediaType = types.DockerManifestSchema2 }, want: "media type"},
		{name: "manifest of another size", index: func(i *v1.IndexManifest) { i.Manifests[0].Size++ }, want: " bytes, want "},
		{name: "huge manifest", index: func(i *v1.IndexManifest) { i.Manifests[0].Size = maxDocument + 1 }, want: "size 4194305, want 0 to 4194304"},
		{name: "platforms swapped", index: func(i *v1.IndexManifest) {
			i.Manifests[0].Platform, i.Manifests[1].Platform = i.Manifests[1].Platform, i.Manifests[0].Platform
		}, want: "is no file of the set"},

		{name: "image", manifest: func(m *v1.Manifest) { m.ArtifactType = "" }, want: `artifact type is ""`},
		{name: "docker's manifest inside", manifest: func(m *v1.Manifest) { m.MediaType = types.DockerManifestSchema2 }, want: "want \"application/vnd.oci.image.manifest.v1+json\""},
		{name: "image's config", manifest: func(m *v1.Manifest) { m.Config.MediaType = types.OCIConfigJSON }, want: `media type "application/vnd.oci.image.config.v1+json", want "` + ManifestType + `"`},
		{name: "many layers", manifest: func(m *v1.Manifest) { m.Layers = slices.Repeat(m.Layers, 13) }, want: "65 layers, want at most 64"},
		{name: "layer missing", manifest: func(m *v1.Manifest) { m.Layers = m.Layers[1:] }, want: "0 layers are aarch64/headers.squashfs, want one"},
		{name: "layer twice", manifest: func(m *v1.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, want: "2 layers are aarch64/headers.squashfs, want one"},
		{name: "layer without a title", manifest: layer(func(d *v1.Descriptor) { d.Annotations = nil }), want: `with title "" is no file of the set`},
		{name: "layer that leads out", manifest: layer(func(d *v1.Descriptor) { d.Annotations[titleKey] = "../vmlinux" }), want: `with title "../vmlinux" is no file of the set`},
		{name: "image's layer", manifest: layer(func(d *v1.Descriptor) { d.MediaType = types.OCILayer }), want: `media type "application/vnd.oci.image.layer.v1.tar+gzip", want "application/vnd.kindling.kernel.v1"`},
		{name: "foreign layer", manifest: layer(func(d *v1.Descriptor) { d.MediaType = types.DockerForeignLayer }), want: "foreign"},
		{name: "layer elsewhere", manifest: layer(func(d *v1.Descriptor) { d.URLs = []string{"https://elsewhere.example/x"} }), want: `it stands elsewhere ("https://elsewhere.example/x")`},
		{name: "layer of another size", manifest: layer(func(d *v1.Descriptor) { d.Size = 5 }), want: "(5 bytes), want sha256:"},
		{name: "layer of negative size", manifest: layer(func(d *v1.Descriptor) { d.Size = -5 }), want: "size -5"},
		{name: "huge layer", manifest: layer(func(d *v1.Descriptor) { d.Size = maxFile + 1 }), want: "size 8589934593"},
		{name: "layer of another digest", manifest: layer(func(d *v1.Descriptor) { d.Digest = hashOf(nil) }), want: "layer of aarch64/vmlinux is sha256:e3b0"},
		{name: "layer by SHA-512", manifest: layer(func(d *v1.Descriptor) { d.Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)} }), want: "want a SHA-256"},

		{name: "other manifest.json", config: other.content["manifest.json"], want: "want sha256:"},
		{name: "manifest.json in another form", config: strings.Replace(good, "{", "{ ", 1), want: "is not in canonical form, which is " + set.id},
		{name: "manifest.json of a later version", config: strings.Replace(good, `"version": 1`, `"version": 9`, 1), want: "manifest has version 9"},
		{name: "manifest.json with names that are taken", config: string(takenNames), want: "file .partial/x has a name that is taken"},
		{name: "no manifest.json", config: "set", want: "parse manifest"},
		{name: "architectures of two sets", manifest: func(m *v1.Manifest) {
			if m.Layers[0].Annotations[titleKey] == "x86_64/headers.squashfs" {
				m.Config = v1.Descriptor{MediaType: ManifestType, Digest: hashOf([]byte(other.content["manifest.json"])), Size: int64(len(other.content["manifest.json"]))}
			}
		}, want: "is of set " + other.id + ", want " + set.id},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.config == "" {
				test.config = good
			}
			ref := set.variant(t, r, test.config, test.manifest, test.index)
			dir := t.TempDir()
			_, err := newClient().Pull(t.Context(), ref, dir, Want{})
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				set.checkFolder(t, dir)
				return
			}
			checkError(t, err, test.want)
			checkIncomplete(t, dir)
		})
	}
}

// FuzzDocuments checks that no document of a registry's makes a parser panic, and
// what they take.
func FuzzDocuments(f *testing.F) {
	digest := "sha256:" + strings.Repeat("0", 64)
	values := strings.NewReplacer("CONFIGSIZE", "5", "SIZE", "5", "DIGEST", digest, "SET", digest)
	f.Add([]byte(values.Replace(wantIndex)), []byte(values.Replace(wantManifest)))
	f.Add([]byte(`{"schemaVersion":2}`), []byte(`{"layers":[{}],"config":{"digest":"sha256:"}}`))
	f.Fuzz(func(t *testing.T, index, manifest []byte) {
		arches, err := parseIndex(index)
		if err == nil && (len(arches) == 0 || len(arches) > len(platforms)) {
			t.Errorf("index has %d architectures", len(arches))
		}
		parsed, err := parseManifest(manifest)
		if err != nil {
			return
		}
		file := bundle.File{Kind: bundle.Kernel, Name: "x86_64/vmlinux", SHA256: strings.Repeat("0", 64)}
		if err := checkLayers(parsed.Layers, []bundle.File{file}); err == nil && len(parsed.Layers) != 1 {
			t.Errorf("%d layers are one file", len(parsed.Layers))
		}
	})
}
