package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// serve serves a registry on loopback and returns its name.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestLoadRegistry(t *testing.T) {
	host := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
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
	checkLoadError(t, host+"/app@"+digest(amd), arm64, `no image is for "linux/arm64", there is ["linux/amd64"]`)
	checkLoadError(t, host+"/single:1", arm64, `no image is for "linux/arm64", there is ["linux/amd64"]`)
	checkLoadError(t, host+"/app:1", v1.Platform{OS: "linux", Architecture: "riscv64"}, "linux/riscv64")
	checkLoadError(t, host+"/missing:1", amd64, "NAME_UNKNOWN")

	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Load(ctx, host+"/app:1", amd64, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("disk", func(t *testing.T) {
		img, err := Load(t.Context(), host+"/app@"+digest(index), arm64, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := img.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "rootfs.ext4"), nil); err != nil {
			t.Error(err)
		}
	})
}

// TestLoadLyingRegistry is about a registry that sends other bytes than those
// that were asked for.
func TestLoadLyingRegistry(t *testing.T) {
	honest := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	img := newImage(t, amd64)
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, manifest := digestOf(t, layers[0]), digestOf(t, img)
	index := newIndex(withPlatform(img, amd64))
	reference, err := name.ParseReference(serve(t, honest) + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference, index); err != nil {
		t.Fatal(err)
	}
	space := func(data []byte) []byte { return append(data, ' ') }
	flip := func(data []byte) []byte {
		data[len(data)/2] ^= 1
		return data
	}
	tests := []struct {
		name, ref string
		lie       v1.Hash // what is changed, how
		change    func([]byte) []byte
		want      string
	}{
		{"index", "@" + digestOf(t, index).String(), digestOf(t, index), space, "does not match requested digest"},
		{"manifest", "@" + manifest.String(), manifest, space, "does not match requested digest"},
		{"manifest of an index", ":1", manifest, space, "does not match requested digest"},
		{"configuration", ":1", config, flip, config.String()},
		{"longer configuration", ":1", config, space, "read configuration " + config.String() + ": "},
		{"layer", ":1", layer, flip, "apply layer 1, " + layer.String()},
		{"longer layer", ":1", layer, space, "apply layer 1, " + layer.String()},
		{"shorter layer", ":1", layer, func(data []byte) []byte { return data[:len(data)/2] }, "apply layer 1, " + layer.String()},
		{"error with control characters", ":1", layer, nil, `\x1b[2J`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, test.lie.String()) {
					honest.ServeHTTP(w, r)
					return
				}
				if test.change == nil {
					http.Error(w, "\x1b[2J", http.StatusTeapot)
					return
				}
				recorded := httptest.NewRecorder()
				honest.ServeHTTP(recorded, r)
				w.Header().Set("Content-Type", recorded.Header().Get("Content-Type"))
				if _, err := w.Write(test.change(bytes.Clone(recorded.Body.Bytes()))); err != nil {
					t.Log(err) // the client may have seen enough
				}
			}))
			err := loadAndWrite(t, t.Context(), host+"/app"+test.ref)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

func loadAndWrite(t *testing.T, ctx context.Context, ref string) error {
	t.Helper()
	img, err := Load(ctx, ref, amd64, Options{})
	if err != nil {
		return err
	}
	_, err = img.WriteDisk(ctx, filepath.Join(t.TempDir(), "rootfs.ext4"), nil)
	return err
}

// TestWriteDiskCanceled is about a registry that stops in the middle of a layer.
func TestWriteDiskCanceled(t *testing.T) {
	honest := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	img := newImage(t, amd64)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := digestOf(t, layers[0]).String()
	ctx, cancel := context.WithCancel(t.Context())
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer) {
			honest.ServeHTTP(w, r)
			return
		}
		if _, err := w.Write([]byte{0x1f}); err != nil {
			t.Error(err)
		}
		cancel()
		<-r.Context().Done()
	}))
	reference, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference, img); err != nil {
		t.Fatal(err)
	}
	if err := loadAndWrite(t, ctx, host+"/app:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

// TestLoadForeignLayer is about a layer that its registry does not have, and a
// URL in the manifest that nobody may ask.
func TestLoadForeignLayer(t *testing.T) {
	elsewhere := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the URL of the layer was asked") }))
	layer := newLayer(t)
	foreign := mutate.Addendum{Layer: layer, MediaType: types.OCIRestrictedLayer, URLs: []string{"http://" + elsewhere + "/layer"}}
	img, err := mutate.Append(newImage(t, amd64), foreign)
	if err != nil {
		t.Fatal(err)
	}
	honest := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) {
			http.NotFound(w, r)
			return
		}
		honest.ServeHTTP(w, r)
	}))
	reference, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference, img); err != nil {
		t.Fatal(err)
	}
	err = loadAndWrite(t, t.Context(), host+"/app:1")
	if want := "apply layer 2, " + digestOf(t, layer).String() + ": open blob: "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %s", err, want)
	}
}
