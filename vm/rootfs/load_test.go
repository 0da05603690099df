package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// checkLoad loads ref and compares the digest of its only layer.
func checkLoad(t *testing.T, ref string, platform v1.Platform, want v1.Image) {
	t.Helper()
	got, err := Load(t.Context(), ref, platform)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := onlyLayer(t, got), onlyLayer(t, want); got != want {
		t.Errorf("Load(%q, %s) has layer %s, want %s", ref, platform.String(), got, want)
	}
}

func onlyLayer(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers, %v, want one", len(layers), err)
	}
	diffID, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return diffID
}

func checkLoadError(t *testing.T, ref string, platform v1.Platform, want string) {
	t.Helper()
	_, err := Load(t.Context(), ref, platform)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Load(%q, %s): got error %v, want %s", ref, platform.String(), err, want)
	}
}

func TestLoadLayout(t *testing.T) {
	amd, arm := newImage(t, amd64), newImage(t, arm64)
	attestation := newImage(t, v1.Platform{OS: "unknown", Architecture: "unknown"})
	unknown := v1.Platform{OS: "unknown", Architecture: "unknown"}
	tests := []struct {
		name  string
		index v1.ImageIndex
	}{
		{"platforms in the index", newIndex(withPlatform(amd, amd64), withPlatform(attestation, unknown), withPlatform(arm, arm64))},
		{"platforms in the configuration", newIndex(plain(arm), plain(amd))},
		{"index in an index", newIndex(plain(newIndex(withPlatform(amd, amd64))), plain(newIndex(withPlatform(arm, arm64))))},
		{"one image twice", newIndex(plain(arm), plain(arm), plain(amd), withPlatform(amd, amd64))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeLayout(t, test.index)
			checkLoad(t, dir, amd64, amd)
			checkLoad(t, dir, arm64, arm)
		})
	}
}

func TestLoadLayoutErrors(t *testing.T) {
	amd, other := newImage(t, amd64), newImage(t, v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"})
	deep := newIndex(plain(amd))
	for range maxIndexDepth {
		deep = newIndex(plain(deep))
	}
	config, err := amd.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	flip := func(data []byte) []byte { return bytes.Replace(data, []byte("linux"), []byte("linus"), 1) }
	space := func(data []byte) []byte { return append(data, '\n') }
	inner := newIndex(plain(amd))
	tests := []struct {
		name     string
		index    v1.ImageIndex
		change   func(t *testing.T, dir string)
		platform v1.Platform
		want     string
	}{
		{"other platform in the index", newIndex(withPlatform(amd, amd64)), nil, arm64,
			`no image for "linux/arm64", the layout has "linux/amd64"`},
		{"other platform in the configuration", newIndex(plain(amd)), nil, arm64,
			`no image for "linux/arm64", the layout has "linux/amd64"`},
		{"index says other than the configuration", newIndex(withPlatform(amd, arm64)), nil, arm64,
			`image is for "linux/amd64", want "linux/arm64"`},
		{"empty", newIndex(), nil, arm64, `no image for "linux/arm64", the layout has none`},
		{"two images", newIndex(plain(amd), plain(other)), nil, amd64, `2 images for "linux/amd64", want one`},
		{"deep", newIndex(plain(deep)), nil, amd64, "index in an index in more than 4 levels"},
		{"no oci-layout", newIndex(plain(amd)), func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "oci-layout")); err != nil {
				t.Fatal(err)
			}
		}, amd64, "no OCI image layout: "},
		{"changed manifest", newIndex(plain(amd)), func(t *testing.T, dir string) {
			replaceFile(t, blobPath(dir, digestOf(t, amd)), space)
		}, amd64, "read image " + digestOf(t, amd).String() + ": got digest sha256:"},
		{"changed configuration", newIndex(plain(amd)), func(t *testing.T, dir string) {
			replaceFile(t, blobPath(dir, config), flip)
		}, amd64, "read image configuration: got digest sha256:"},
		{"changed index", newIndex(plain(inner)), func(t *testing.T, dir string) {
			replaceFile(t, blobPath(dir, digestOf(t, inner)), space)
		}, amd64, "read index " + digestOf(t, inner).String() + ": got digest sha256:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeLayout(t, test.index)
			if test.change != nil {
				test.change(t, dir)
			}
			checkLoadError(t, dir, test.platform, test.want)
		})
	}
}

// TestLoadWrongDiffIDs is about configurations that do not fit the layers.
func TestLoadWrongDiffIDs(t *testing.T) {
	withIDs := func(ids ...v1.Hash) v1.Image {
		img := newImage(t, amd64)
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.RootFS.DiffIDs = ids
		img, err = mutate.ConfigFile(img, config)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	checkLoadError(t, writeLayout(t, newIndex(plain(withIDs()))), amd64,
		"image configuration has 0 diff IDs, want 1 as there are layers")

	// WriteDisk finds a wrong one, since the configuration's is what counts.
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	img, err := Load(t.Context(), writeLayout(t, newIndex(plain(withIDs(other)))), amd64)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	err = WriteDisk(filepath.Join(t.TempDir(), "rootfs.ext4"), layers)
	if err == nil || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("got error %v, want one with %s", err, other)
	}
}

func TestLoadArchive(t *testing.T) {
	amd := newImage(t, amd64)
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("example.test/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, amd); err != nil {
		t.Fatal(err)
	}
	checkLoad(t, path, amd64, amd)
	checkLoadError(t, path, arm64, `image is for "linux/amd64", want "linux/arm64"`)

	t.Run("name of an existing file", func(t *testing.T) {
		t.Chdir(filepath.Dir(path))
		checkLoad(t, "image.tar", amd64, amd)
		checkLoad(t, "./image.tar", amd64, amd)
	})
}

func TestLoadPathErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, ref := range []string{"./missing", "../missing", "/missing/image.tar"} {
		if _, err := Load(t.Context(), ref, amd64); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%q): got error %v, want %v", ref, err, fs.ErrNotExist)
		}
	}
	checkLoadError(t, "Not A Reference", amd64, "no such file, and could not parse reference")
}

func TestLoadRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	amd, arm := newImage(t, amd64), newImage(t, arm64)
	index := newIndex(withPlatform(amd, amd64), withPlatform(arm, arm64))
	reference, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference, index); err != nil {
		t.Fatal(err)
	}
	single, err := name.ParseReference(host + "/single:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(single, amd); err != nil {
		t.Fatal(err)
	}
	digest := func(img interface{ Digest() (v1.Hash, error) }) string { return digestOf(t, img).String() }
	tests := []struct {
		name, ref string
		platform  v1.Platform
		want      v1.Image
	}{
		{"tag", host + "/app:1", amd64, amd},
		{"tag, other platform", host + "/app:1", arm64, arm},
		{"digest of the index", host + "/app@" + digest(index), arm64, arm},
		{"digest of an image", host + "/app@" + digest(amd), amd64, amd},
		{"tag of an image", host + "/single:1", amd64, amd},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { checkLoad(t, test.ref, test.platform, test.want) })
	}
	checkLoadError(t, host+"/app@"+digest(amd), arm64, `image is for "linux/amd64", want "linux/arm64"`)
	checkLoadError(t, host+"/single:1", arm64, `image is for "linux/amd64", want "linux/arm64"`)
	checkLoadError(t, host+"/app:1", v1.Platform{OS: "linux", Architecture: "riscv64"}, "linux/riscv64")
	checkLoadError(t, host+"/missing:1", amd64, "NAME_UNKNOWN")

	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Load(ctx, host+"/app:1", amd64); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("disk", func(t *testing.T) {
		img, err := Load(t.Context(), host+"/app@"+digest(index), arm64)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteDisk(filepath.Join(t.TempDir(), "rootfs.ext4"), layers); err != nil {
			t.Error(err)
		}
	})
}
