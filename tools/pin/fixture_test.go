package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/internal/deb/debtest"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

// mainEnv makes the test binary pin itself.
const mainEnv = "PIN_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const (
	kernelURL  = "https://github.com/kernel/linux/releases/download/v6/vmlinux"
	headersURL = "https://one.example/headers.tar.gz"
	mirrorURL  = "https://two.example/headers.tar.gz"
	debPath    = "pool/main/b/busybox/busybox_1_amd64.deb"
)

var (
	kernel  = string(kerneltest.VMLinux(kerneltest.PVH()))
	headers = gzipOf(tarOf("linux/Makefile", "all:"))
	busybox = debOf("Package: busybox\nVersion: 1\nArchitecture: amd64\n")
)

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func gzipOf(text string) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := io.WriteString(w, text); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.String()
}

// tarOf has files, each a name and a text.
func tarOf(files ...string) string {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.String()
}

func debOf(control string) string {
	return string(debtest.Package(debtest.Version,
		debtest.Member{Name: "control.tar", Data: []byte(tarOf("./control", control))},
		debtest.Member{Name: "data.tar", Data: []byte(tarOf("./bin/busybox", "ELF!"))}))
}

// web has what https servers and a mirror hold, by host and path.
type web map[string]string

// RoundTrip gives a file of the web, and everything else to real servers.
func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !strings.HasSuffix(r.URL.Host, ".example") {
		return http.DefaultTransport.RoundTrip(r)
	}
	body, ok := w[r.URL.Host+r.URL.Path]
	response := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
	if !ok {
		response.Status, response.StatusCode = "404 Not Found", http.StatusNotFound
	}
	return response, nil
}

// workspace is where a test runs pin.
type workspace struct {
	lock   string // file
	temp   string // folder for temporary files
	save   string // folder
	web    web
	client *fetch.Client
}

// newWorkspace has a lock with an artifact of each kind, and a web that has its
// files. The kernels are not pinned.
func newWorkspace(t *testing.T) *workspace {
	t.Helper()
	w := &workspace{
		lock: filepath.Join(t.TempDir(), "artifacts.lock.json"),
		temp: t.TempDir(),
		save: t.TempDir(),
		web: web{
			"mirror.example/debian/" + debPath:                     busybox,
			"one.example/headers.tar.gz":                           headers,
			"two.example/headers.tar.gz":                           headers,
			"github.com/kernel/linux/releases/download/v6/vmlinux": kernel,
			"api.github.com/repos/kernel/linux/releases/tags/v6":   releaseWith(sumOf(kernel)),
		},
	}
	l := lock.Lock{
		Profiles: map[string]lock.Profile{"debian": {Base: "busybox", Kernel: "linux"}},
		Artifacts: []lock.Artifact{
			{Name: "busybox", Arch: "aarch64", Kind: lock.Base, Version: "1", License: "GPL-2.0-only", URLs: []string{"https://one.example/busybox.tar.gz"}},
			{Name: "busybox", Arch: "x86_64", Kind: lock.Base, Version: "1", License: "GPL-2.0-only", SHA256: sumOf(busybox),
				Size: int64(len(busybox)), Package: "busybox", Path: debPath},
			{Name: "headers", Arch: "all", Kind: lock.Headers, Version: "6", License: "GPL-2.0-only", SHA256: sumOf(headers),
				URLs: []string{headersURL, mirrorURL}},
			{Name: "linux", Arch: "aarch64", Kind: lock.Kernel, Version: "6", License: "GPL-2.0-only", URLs: []string{"https://one.example/Image"}},
			{Name: "linux", Arch: "x86_64", Kind: lock.Kernel, Version: "6", License: "GPL-2.0-only", URLs: []string{kernelURL}, Headers: []string{"headers"}},
		},
	}
	data, err := l.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.lock, data, 0o640); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", w.temp)
	t.Setenv("DEBIAN_MIRROR", "http://me:secret@mirror.example/debian/")
	t.Setenv("BUILD_WORKSPACE_DIRECTORY", "")
	w.client = fetch.New()
	w.client.Transport = w.web
	w.client.Clock = &fetchtest.Clock{}
	return w
}

func releaseWith(sum string) string {
	return `{"assets": [{"name": "vmlinux", "digest": "sha256:` + sum + `"}]}`
}

func (w *workspace) read(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(w.lock)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// parse gives the lock as it is now.
func (w *workspace) parse(t *testing.T) *lock.Lock {
	t.Helper()
	l, err := lock.Parse([]byte(w.read(t)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type result struct {
	Code           int
	Stdout, Stderr string
}

// pin runs a command line in the workspace.
func (w *workspace) pin(args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(w.client, append([]string{"--lock", w.lock, "--progress", "quiet"}, args...), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// requireError runs a command line that must fail and change nothing.
func (w *workspace) requireError(t *testing.T, want result, args ...string) {
	t.Helper()
	lockBefore, lockInfo := w.read(t), stat(t, w.lock)
	saved := list(t, w.save)
	got := w.pin(args...)
	if got.Code != want.Code || got.Stdout != want.Stdout || !strings.HasPrefix(got.Stderr, want.Stderr) {
		t.Errorf("%q: (-want +got):\n%s", args, cmp.Diff(want, got))
	}
	if w.read(t) != lockBefore || !os.SameFile(lockInfo, stat(t, w.lock)) {
		t.Errorf("%q: lock has changed", args)
	}
	if diff := cmp.Diff(saved, list(t, w.save)); diff != "" {
		t.Errorf("%q: folder has changed (-before +after):\n%s", args, diff)
	}
	w.requireClean(t)
}

// requireClean checks that no temporary file is left anywhere.
func (w *workspace) requireClean(t *testing.T) {
	t.Helper()
	if left := list(t, w.temp); len(left) > 0 {
		t.Errorf("left temporary files %v", left)
	}
	if left := list(t, filepath.Dir(w.lock)); len(left) != 1 {
		t.Errorf("left files beside the lock: %v", left)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
