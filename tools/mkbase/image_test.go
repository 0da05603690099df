package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerOf is a layer with empty files.
func layerOf(t *testing.T, names ...string) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(buf.Bytes(), types.OCIUncompressedLayer)
}

// writeLayout writes an image of two layers and gives its folder and digests.
func writeLayout(t *testing.T) (dir string, digests []string) {
	t.Helper()
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	layers := []v1.Layer{layerOf(t, "etc/a", "etc/b"), layerOf(t, "etc/.wh.a", "c")}
	if image, err = mutate.AppendLayers(mutate.ConfigMediaType(image, types.OCIConfigJSON), layers...); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image); err != nil {
		t.Fatal(err)
	}
	for _, of := range []interface{ Digest() (v1.Hash, error) }{image, layers[0], layers[1]} {
		digest, err := of.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	return dir, digests
}

func TestImage(t *testing.T) {
	dir, digests := writeLayout(t)
	out := t.TempDir()
	args := []string{"--image", dir, "--name=registry.example/base", "--arch=x86_64", "--origin=" + filepath.Join(out, "origin"), "--out=" + filepath.Join(out, "layer")}
	if err := run(append(args, "--digest="+digests[0]), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	layer, err := os.ReadFile(filepath.Join(out, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(entries(t, layer), "\n")
	if !strings.Contains(got, "etc/b") || !strings.Contains(got, "c") || strings.Contains(got, "etc/a") || strings.Contains(got, ".wh.") {
		t.Errorf("layer has\n%s\nwant etc/b and c", got)
	}
	origin, err := os.ReadFile(filepath.Join(out, "origin"))
	if want := "--image=registry.example/base@" + digests[0] + "\n--layer=" + digests[1] + "\n--layer=" + digests[2] + "\n"; err != nil || string(origin) != want {
		t.Errorf("origin = %q, %v, want %q", origin, err, want)
	}

	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"other digest", "sha256:" + strings.Repeat("0", 64), append(args, "--digest=sha256:"+strings.Repeat("0", 64))},
		{"no digest", "read flag --digest: cannot parse hash", append(args, "--digest=latest")},
		{"other architecture", "arm64", append(args, "--arch=aarch64")},
		{"no image", "no such file or directory", append(args, "--image="+dir+"/none")},
		{"a package too", "flags --deb and --image exclude each other", append(args, "--deb=x")},
		{"no name", "flag --name is missing", append(args, "--name=")},
	} {
		fresh := filepath.Join(t.TempDir(), "layer")
		if err := run(append(test.args, "--out="+fresh), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want one with %q", test.name, err, test.want)
		}
		if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: layer after an error: %v", test.name, err)
		}
	}
}
