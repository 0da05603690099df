//go:build vm

// Package oci has the test of fetching a base image from a registry by digest, as
// a workspace that uses the rules does.
package oci

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kindling-vm/kindling/internal/ociimage"
	"github.com/kindling-vm/kindling/test/internal/nestedbazel"
)

// TestImage fetches an index with images for three architectures, of which two
// are wanted, and opens what has come as an initrd's base is opened.
func TestImage(t *testing.T) {
	bazel := nestedbazel.Find(t)
	var lie string // path of a blob that the registry serves other bytes for
	handler := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && lie != "" && strings.HasSuffix(r.URL.Path, lie) {
			fmt.Fprint(w, "lie")
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	digest := push(t, host+"/team/base:1")

	w := bazel.New(t, filepath.Join(t.TempDir(), "ws"))
	w.Flags = []string{"--norepository_disable_download"}
	declare(t, w.Dir, "good", host+"/team/base@"+digest.String())
	declare(t, w.Dir, "lied", host+"/team/base@"+digest.String(), "amd64")
	declare(t, w.Dir, "tagged", host+"/team/base:1")
	declare(t, w.Dir, "missing", host+"/team/base@"+digest.String(), "riscv64")

	if output, err := w.Run("fetch", "--repo=@good"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	base, err := w.Run("info", "output_base")
	if err != nil {
		t.Fatalf("%v\n%s", err, base)
	}
	lines := strings.Split(base, "\n")
	layout := filepath.Join(lines[len(lines)-1], "external", "_main~_repo_rules~good")
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := ociimage.Open(layout, v1.Platform{OS: "linux", Architecture: arch}, digest)
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if layers, err := image.Layers(); err != nil || len(layers) != 2 {
			t.Errorf("%s: %d layers, %v, want 2", arch, len(layers), err)
		}
	}
	for _, failure := range []struct{ repo, want string }{
		{"tagged", "want HOST/NAME@sha256:HEX: a tag can move"},
		{"missing", "has no image for riscv64"},
	} {
		if output, err := w.Run("fetch", "--repo=@"+failure.repo); err == nil || !strings.Contains(output, failure.want) {
			t.Errorf("%s: got error %v, want one with %q\n%s", failure.repo, err, failure.want, output)
		}
	}
	lie = "/manifests/" + digest.String()
	if output, err := w.Run("fetch", "--repository_cache=", "--repo=@lied"); err == nil || !strings.Contains(output, "Checksum was") || !strings.Contains(output, digest.Hex) {
		t.Errorf("other bytes: got error %v, want both digests\n%s", err, output)
	}
}

// push puts an index into the registry and gives its digest.
func push(t *testing.T, reference string) v1.Hash {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		image, err := random.Image(1000, 2)
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.OS, file.Architecture = "linux", arch
		if image, err = mutate.ConfigFile(image, file); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// declare adds an image to a workspace.
func declare(t *testing.T, workspace, repo, image string, architectures ...string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(workspace, "MODULE.bazel"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	list := ""
	if len(architectures) > 0 {
		list = fmt.Sprintf(", architectures = [%q]", strings.Join(architectures, `", "`))
	}
	_, err = fmt.Fprintf(file, `
oci_image_%[1]s = use_repo_rule("//tools/mkbase:oci_image.bzl", "oci_image")
oci_image_%[1]s(name = %[1]q, image = %[2]q, insecure = True%[3]s)
`, repo, image, list)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
