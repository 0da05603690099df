package rootfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// checkLoad loads ref and compares the digest of its only layer.
func checkLoad(t *testing.T, ref string, platform v1.Platform, want v1.Image) {
	t.Helper()
	got, err := Load(t.Context(), ref, platform, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.layers) != 1 {
		t.Fatalf("got %d layers, want one", len(got.layers))
	}
	id, err := got.layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := id, onlyLayer(t, want); got != want {
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
	_, err := Load(t.Context(), ref, platform, Options{})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Load(%q, %s): got error %v, want %s", ref, platform.String(), err, want)
	}
}

// TestLoadLayout is about what is found. What is refused is in the tests of
// internal/ociimage.
func TestLoadLayout(t *testing.T) {
	amd, arm := newImage(t, amd64), newImage(t, arm64)
	dir := writeLayout(t, newIndex(plain(newIndex(withPlatform(amd, amd64))), plain(arm)))
	checkLoad(t, dir, amd64, amd)
	checkLoad(t, dir, arm64, arm)
	checkLoadError(t, dir, v1.Platform{OS: "linux", Architecture: "s390x"}, `no image is for "linux/s390x", there is ["linux/amd64" "linux/arm64"]`)
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
	checkLoadError(t, writeLayout(t, newIndex(plain(withIDs()))), amd64, "read configuration: got 0 diff IDs, want 1 as there are layers")

	// WriteDisk finds a wrong one, since the configuration's is what counts.
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	img, err := Load(t.Context(), writeLayout(t, newIndex(plain(withIDs(other)))), amd64, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = img.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "rootfs.ext4"), nil)
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
	checkLoadError(t, path, arm64, `no image is for "linux/arm64", there is ["linux/amd64"]`)

	t.Run("name of an existing file", func(t *testing.T) {
		t.Chdir(filepath.Dir(path))
		checkLoad(t, "image.tar", amd64, amd)
		checkLoad(t, "./image.tar", amd64, amd)
	})
}

func TestLoadPathErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, ref := range []string{"./missing", "../missing", "/missing/image.tar"} {
		if _, err := Load(t.Context(), ref, amd64, Options{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%q): got error %v, want %v", ref, err, fs.ErrNotExist)
		}
	}
	checkLoadError(t, "Not A Reference", amd64, "no such file, and could not parse reference")
}
