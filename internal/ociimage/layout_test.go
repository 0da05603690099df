package ociimage

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestLayout(t *testing.T) {
	unknown := v1.Platform{OS: "unknown", Architecture: "unknown"}
	tests := []struct {
		name string
		make func(m memory, amd, arm v1.Descriptor) []v1.Descriptor
	}{
		{"platforms in the index", func(_ memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{on(arm, arm64), on(amd, amd64)}
		}},
		{"platforms in the configurations",
			func(_ memory, amd, arm v1.Descriptor) []v1.Descriptor { return []v1.Descriptor{arm, amd} }},
		{"variant in the index", func(_ memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{amd, on(arm, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"})}
		}},
		{"index in an index", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{m.index(t, on(arm, arm64), on(amd, amd64))}
		}},
		{"Docker's manifest list", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{m.document(t, types.DockerManifestList, v1.IndexManifest{SchemaVersion: 2, MediaType: types.DockerManifestList,
				Manifests: []v1.Descriptor{on(arm, arm64), on(amd, amd64)}})}
		}},
		{"index per platform", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{m.index(t, arm), m.index(t, amd)}
		}},
		{"one image twice", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{amd, arm, on(amd, amd64), m.index(t, amd, arm), m.index(t, amd, arm)}
		}},
		{"attestation beside", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{amd, arm, on(m.image(t, unknown, nil), unknown)}
		}},
		{"image without a platform beside", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			signature := m.layer("signature")
			signature.MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
			return []v1.Descriptor{m.image(t, v1.Platform{}, []v1.Descriptor{signature}), amd, arm}
		}},
		{"artifact beside", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{amd, arm, m.image(t, amd64, nil, func(manifest *v1.Manifest, _ *v1.ConfigFile) { manifest.Config.MediaType = types.OCIEmptyJSON })}
		}},
		{"unknown media type beside", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{amd, arm, m.blob("application/x", []byte("x"))}
		}},
		{"blobs of another platform missing", func(m memory, amd, arm v1.Descriptor) []v1.Descriptor {
			missing := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 7, Digest: digestOf([]byte("missing"))}
			return []v1.Descriptor{on(missing, v1.Platform{OS: "linux", Architecture: "s390x"}), amd, arm}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := memory{}
			amd := m.image(t, amd64, []v1.Descriptor{m.layer("1"), m.layer("amd64")})
			arm := m.image(t, arm64, []v1.Descriptor{m.layer("1"), m.layer("arm64")})
			m.layout(t, test.make(m, amd, arm)...)
			for kind, path := range map[string]string{"folder": m.folder(t), "archive": m.archive(t)} {
				t.Run(kind, func(t *testing.T) {
					for want, platform := range map[v1.Hash]v1.Platform{amd.Digest: amd64, arm.Digest: arm64} {
						img, err := Open(path, platform, anyone)
						if err != nil {
							t.Fatal(err)
						}
						checkImage(t, img, want, "1", platform.Architecture)
					}
				})
			}
		})
	}
}

// TestNameless is about images whose configuration names no platform.
func TestNameless(t *testing.T) {
	nothing := v1.Platform{}
	tests := []struct {
		name string
		make func(m memory, desc v1.Descriptor) []v1.Descriptor
	}{
		{"alone", func(_ memory, desc v1.Descriptor) []v1.Descriptor { return []v1.Descriptor{desc} }},
		{"twice", func(m memory, desc v1.Descriptor) []v1.Descriptor { return []v1.Descriptor{desc, m.index(t, desc)} }},
		{"platform in the index", func(_ memory, desc v1.Descriptor) []v1.Descriptor { return []v1.Descriptor{on(desc, amd64)} }},
		{"no platform in the index either", func(_ memory, desc v1.Descriptor) []v1.Descriptor { return []v1.Descriptor{on(desc, nothing)} }},
		{"beside another platform", func(m memory, desc v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{m.image(t, arm64, nil), desc}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := memory{}
			want := m.image(t, nothing, []v1.Descriptor{m.layer("a")})
			img, err := openLayout(m.layout(t, test.make(m, want)...), amd64, anyone)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, img, want.Digest, "a")
		})
	}
}

// TestLayers is about images that are odd and fine.
func TestLayers(t *testing.T) {
	m := memory{}
	a, b := m.layer("a"), m.layer("b")
	foreign := b
	foreign.MediaType, foreign.URLs = types.OCIUncompressedRestrictedLayer, []string{"https://example.test/b"}
	tests := []struct {
		name   string
		layers []v1.Descriptor
		change func(*v1.Manifest, *v1.ConfigFile)
		want   []string
	}{
		{name: "no layers"},
		{name: "duplicate layers", layers: []v1.Descriptor{a, b, a}, want: []string{"a", "b", "a"}},
		{name: "foreign layer whose bytes are there", layers: []v1.Descriptor{a, foreign}, want: []string{"a", "b"}},
		{name: "media type of the manifest missing", layers: []v1.Descriptor{a},
			change: func(m *v1.Manifest, _ *v1.ConfigFile) { m.MediaType = "" }, want: []string{"a"}},
		{name: "annotations with control characters", layers: []v1.Descriptor{a}, want: []string{"a"},
			change: func(m *v1.Manifest, _ *v1.ConfigFile) { m.Annotations = map[string]string{"\x1b[2J": "\x07\u202e"} }},
		{name: "labels that differ in case", layers: []v1.Descriptor{a}, want: []string{"a"},
			change: func(_ *v1.Manifest, c *v1.ConfigFile) {
				c.Config.Labels = map[string]string{"Vendor": "a", "vendor": "b"}
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.change == nil {
				test.change = func(*v1.Manifest, *v1.ConfigFile) {}
			}
			want := m.image(t, amd64, test.layers, test.change)
			img, err := openLayout(m.layout(t, want), amd64, anyone)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, img, want.Digest, test.want...)
		})
	}
}

func TestDigest(t *testing.T) {
	m := memory{}
	amd, arm := m.image(t, amd64, []v1.Descriptor{m.layer("amd64")}), m.image(t, arm64, []v1.Descriptor{m.layer("arm64")})
	other := m.image(t, amd64, []v1.Descriptor{m.layer("other")})
	inner := m.index(t, on(amd, amd64), on(arm, arm64))
	outer := m.index(t, inner)
	m.layout(t, other, outer, inner)
	missing := digestOf([]byte("missing"))
	tests := []struct {
		name     string
		digest   v1.Hash
		platform v1.Platform
		want     v1.Descriptor
		err      string
	}{
		{name: "manifest", digest: amd.Digest, platform: amd64, want: amd},
		{name: "another manifest", digest: other.Digest, platform: amd64, want: other},
		{name: "index", digest: inner.Digest, platform: amd64, want: amd},
		{name: "index, other platform", digest: inner.Digest, platform: arm64, want: arm},
		{name: "index of an index", digest: outer.Digest, platform: arm64, want: arm},
		{name: "none, two images", platform: amd64,
			err: `2 images are for "linux/amd64", want one: name its digest, one of [` + other.Digest.String() + " " + amd.Digest.String() + "]"},
		{name: "manifest for another platform", digest: amd.Digest, platform: arm64,
			err: `no image is for "linux/arm64", there is ["linux/amd64"]`},
		{name: "missing", digest: missing, platform: amd64, err: "no manifest has digest " + missing.String()},
		{name: "of a layer", digest: digestOf([]byte("amd64")), platform: amd64, err: "no manifest has digest "},
		{name: "sha512", digest: v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)}, platform: amd64,
			err: "no manifest has digest sha512:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img, err := openLayout(m, test.platform, test.digest)
			if test.err != "" {
				checkError(t, err, test.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := img.Digest(); got != test.want.Digest || err != nil {
				t.Errorf("got image %s, %v, want %s", got, err, test.want.Digest)
			}
		})
	}
}

// TestFolder is about what only a file system has.
func TestFolder(t *testing.T) {
	m := memory{}
	amd := m.image(t, amd64, []v1.Descriptor{m.layer("1")})
	dir := m.layout(t, amd).folder(t)
	blob := filepath.Join(dir, "blobs", "sha256", amd.Digest.Hex)
	t.Run("blob is a link, as build systems make it", func(t *testing.T) {
		moved := filepath.Join(t.TempDir(), "moved")
		if err := os.Rename(blob, moved); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(moved, blob); err != nil {
			t.Fatal(err)
		}
		img, err := Open(dir, amd64, anyone)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, amd.Digest, "1")
		if err := os.WriteFile(moved, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, amd64, anyone)
		checkError(t, err, "read image "+amd.Digest.String()+": got digest sha256:")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v quotes the file", err)
		}
	})
	for _, test := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "no such file or directory"},
		{"directory", func(path string) error { return os.Mkdir(path, 0o755) }, "it is not a regular file"},
		{"FIFO", func(path string) error { return syscall.Mkfifo(path, 0o644) }, "it is not a regular file"},
		{"dangling link", func(path string) error { return os.Symlink("nowhere", path) }, "no such file or directory"},
	} {
		t.Run("blob is a "+test.name, func(t *testing.T) {
			if err := os.Remove(blob); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := test.make(blob); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, amd64, anyone)
			checkError(t, err, test.want)
		})
	}
	t.Run("no layout", func(t *testing.T) {
		_, err := Open(t.TempDir(), amd64, anyone)
		checkError(t, err, "read oci-layout of OCI image layout: ")
	})
	t.Run("nothing", func(t *testing.T) {
		_, err := Open(filepath.Join(dir, "nothing"), amd64, anyone)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
		}
	})
}

func TestPrintable(t *testing.T) {
	cause := errors.New("a\x1b[2J\tb\u202e\x9b\r\n\u00fc")
	err := Printable(cause)
	if want := "a\\x1b[2J\\tb\\u202e\ufffd\\r\n\u00fc"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is gone")
	}
}

// TestPrintableDocument is about text of a document in an error: this one is in
// that of the digest's parser.
func TestPrintableDocument(t *testing.T) {
	m := memory{}.layout(t)
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{"digest": "sha256:\x1b"}}})
	if err != nil {
		t.Fatal(err)
	}
	m["index.json"] = index
	_, err = Open(m.folder(t), amd64, anyone)
	checkError(t, err, `found non-hex character in hash: \x1b`)
}
