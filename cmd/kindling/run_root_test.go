package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeRootTar writes a root file system as a tar.
func writeRootTar(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "app", Mode: 0o755})
	path := filepath.Join(t.TempDir(), "root.tar")
	if err = errors.Join(err, w.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunRootFileSystem(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "app"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{folder, writeRootTar(t)} {
		if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", root, "--", "/app")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", root, diff)
		}
		want := result{exitOwn, "", "kindling: image has no command of its own; name one behind --\n"}
		if diff := cmp.Diff(want, kindling("run", root)); diff != "" {
			t.Errorf("%s without a command (-want +got):\n%s", root, diff)
		}
	}
	want := result{exitOwn, "", "kindling: use root file system " + h.state +
		": it holds the state folder of kindling; KINDLING_STATE_DIR names another place\n"}
	if diff := cmp.Diff(want, kindling("run", h.state, "--", "/app")); diff != "" {
		t.Errorf("state folder (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

// pushImage makes a registry with an image for amd64, and tells what it is asked
// for: all but pings.
func pushImage(t *testing.T) (host string, img v1.Image, requests *[]string) {
	t.Helper()
	requests = new([]string)
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			*requests = append(*requests, r.Method+" "+r.URL.Path)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	layer, err := random.Layer(1000, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := random.Image(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	made, err = mutate.AppendLayers(made, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Config.Cmd = "linux", "amd64", []string{"/app"}
	if img, err = mutate.ConfigFile(made, config); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference, img); err != nil {
		t.Fatal(err)
	}
	*requests = nil
	return host, img, requests
}

func TestRunAgain(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	host, img, requests := pushImage(t)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, ref string
		want      int // requests
	}{
		{"first", ":1", 3}, // manifest, configuration, layer
		{"again", ":1", 1},
		{"by digest", "@" + digest.String(), 0},
	} {
		*requests = nil
		if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", host+"/app"+test.ref)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if len(*requests) != test.want {
			t.Errorf("%s: got requests %q, want %d", test.name, *requests, test.want)
		}
	}
	// The mirror has it, and what the reference says is not there.
	t.Setenv("KINDLING_MIRROR", host)
	t.Setenv("KINDLING_CACHE_DIR", t.TempDir())
	if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", "127.0.0.1:1/app:1")); diff != "" {
		t.Errorf("mirror (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestRunCacheFails(t *testing.T) {
	h := newHost(t)
	file := writeRootTar(t)
	for _, test := range []struct{ dir, want string }{
		{file, "not a directory"},
		{"", "KINDLING_CACHE_DIR names one"},
	} {
		t.Setenv("KINDLING_CACHE_DIR", test.dir)
		t.Setenv("XDG_CACHE_HOME", "relative")
		t.Setenv("HOME", "")
		got := kindling("run")
		if got.Code != exitOwn || got.Stdout != "" || !strings.Contains(got.Stderr, test.want) {
			t.Errorf("cache folder %q: got %+v, want a message with %q", test.dir, got, test.want)
		}
	}
	h.requireReleased(t)
}

func TestRunProgress(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	got := kindling("run", "--progress", "json", writeRootTar(t), "--", "/app")
	if got.Code != 0 || got.Stdout != "hi\n" {
		t.Fatalf("got %+v", got)
	}
	steps := map[string]bool{}
	for line := range strings.Lines(got.Stderr) {
		var p struct {
			File        string
			Done, Total int64
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.Done > p.Total {
			t.Errorf("got line %q, error %v", line, err)
		}
		steps[p.File] = steps[p.File] || p.Done == p.Total
	}
	if !steps["layers"] {
		t.Errorf("got steps %v, want layers done", steps)
	}
	for _, how := range []string{"auto", "plain", "quiet"} {
		t.Setenv("KINDLING_CACHE_DIR", t.TempDir())
		if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", "--progress", how)); diff != "" {
			t.Errorf("what is soon done, %s (-want +got):\n%s", how, diff)
		}
	}
	want := result{exitUsage, "", "kindling: --progress is \"bars\", want auto, plain, json or quiet\n"}
	if diff := cmp.Diff(want, kindling("run", "--progress", "bars")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestTransfersDelay(t *testing.T) {
	now := time.Unix(0, 0)
	var out strings.Builder
	tr := newTransfers()
	tr.now, tr.how, tr.delay = func() time.Time { return now }, "plain", progressDelay
	if err := tr.start(&out); err != nil {
		t.Fatal(err)
	}
	tr.report("layers", 100, 100)
	now = now.Add(plainInterval)
	tr.report("root disk", 50, 100)
	tr.clear()
	if diff := cmp.Diff("kindling: root disk: 50 of 100 bytes\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRunTogether is about processes that want the same disk at the same time,
// and run from it together.
func TestRunTogether(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	root := writeRootTar(t)
	var users []*user
	for range 4 {
		users = append(users, startUser(t, "run", root, "--", "/app"))
	}
	for _, u := range users {
		if diff := cmp.Diff(result{0, "hi\n", ""}, u.wait(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	disks, err := os.ReadDir(filepath.Join(h.state, "cache", "disks"))
	if err != nil || len(disks) != 1 {
		t.Errorf("got disks %v, error %v, want one", disks, err)
	}
	h.requireReleased(t)
}

// pushChanged makes a registry with pushImage's image, whose configuration is
// changed.
func pushChanged(t *testing.T, tag string, change func(*v1.ConfigFile)) (ref string) {
	t.Helper()
	host, img, _ := pushImage(t)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	change(config)
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(host + "/" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference, img); err != nil {
		t.Fatal(err)
	}
	return reference.String()
}

// TestRunNoPlatform is about an image whose configuration names none.
func TestRunNoPlatform(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	ref := pushChanged(t, "appended:1", func(config *v1.ConfigFile) { config.OS, config.Architecture = "", "" })
	if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", ref)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

// TestRunOtherPlatform is about an image that the machine cannot run.
func TestRunOtherPlatform(t *testing.T) {
	h := newHost(t)
	ref := pushChanged(t, "arm:1", func(config *v1.ConfigFile) { config.Architecture = "arm64" })
	want := result{exitOwn, "", "kindling: load image \"" + ref + "\": no image is for \"linux/amd64\", there is [\"linux/arm64\"]\n"}
	if diff := cmp.Diff(want, kindling("run", ref)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}
