package registry

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

// testRegistry is a registry on loopback that can be made to misbehave.
type testRegistry struct {
	host string // HOST:PORT

	mu       sync.Mutex
	requests []string // METHOD PATH, with the range if there is one
	fault    func(w http.ResponseWriter, r *http.Request) (handled bool)
}

func newRegistry(t *testing.T, options ...registry.Option) *testRegistry {
	t.Helper()
	options = append([]registry.Option{registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)}, options...)
	real := registry.New(options...)
	r := &testRegistry{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, strings.TrimSpace(request.Method+" "+request.URL.Path+" "+request.Header.Get("Range")))
		fault := r.fault
		r.mu.Unlock()
		if fault == nil || !fault(w, request) {
			real.ServeHTTP(w, request)
		}
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *testRegistry) misbehave(fault func(w http.ResponseWriter, r *http.Request) (handled bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault, r.requests = fault, nil
}

// count counts the requests that contain a text.
func (r *testRegistry) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, request := range r.requests {
		if strings.Contains(request, text) {
			count++
		}
	}
	return count
}

// fault is an answer that is not the right one.
type fault func(w http.ResponseWriter, r *http.Request)

// onBlob makes a fault for all requests of one file.
func onBlob(file bundle.File, fault fault) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+file.SHA256) {
			return false
		}
		fault(w, r)
		return true
	}
}

// inOrder makes a fault for each request of one file, one after the other. After
// them, and where one is nil, the registry is as it should be.
func inOrder(file bundle.File, faults ...fault) func(w http.ResponseWriter, r *http.Request) bool {
	var count atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+file.SHA256) {
			return false
		}
		i := int(count.Add(1)) - 1
		if i >= len(faults) || faults[i] == nil {
			return false
		}
		faults[i](w, r)
		return true
	}
}

// fakeClock does not wait, but for servers that stall until the test says so.
type fakeClock struct {
	stalled chan struct{}

	mu    sync.Mutex
	slept []time.Duration
	later time.Duration // than now
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newClock() *fakeClock { return &fakeClock{stalled: make(chan struct{})} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Add(c.later)
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later += d
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d == stallTime {
		select {
		case <-c.stalled:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	return nil
}

// anonymous knows no credentials, whoever runs the test.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func newClient() *Client {
	return &Client{Keychain: anonymous{}, clock: newClock()}
}

// testSet is a folder with an artifact set.
type testSet struct {
	dir      string
	id       string
	manifest *bundle.Manifest
	content  map[string]string
}

// file is the x86_64 file of a kind.
func (s *testSet) file(t *testing.T, kind bundle.Kind) bundle.File {
	t.Helper()
	arch, ok := s.manifest.Architecture("x86_64")
	if !ok {
		t.Fatal("set has no x86_64")
	}
	file, ok := arch.File(kind)
	if !ok {
		t.Fatalf("set has no %s", kind)
	}
	return file
}

// newSet makes a set of two architectures. Another seed gives other kernels.
func newSet(t *testing.T, seed uint64) *testSet {
	t.Helper()
	s := &testSet{dir: t.TempDir(), manifest: &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}, content: map[string]string{}}
	for i, arch := range []string{"aarch64", "x86_64"} {
		kernel := make([]byte, 300_000)
		for j, source := 0, rand.New(rand.NewPCG(seed, uint64(i))); j < len(kernel); j++ {
			kernel[j] = byte(source.Uint32())
		}
		described := bundle.Architecture{Arch: arch, CommandLine: "console=ttyS0"}
		for _, file := range []struct {
			kind          bundle.Kind
			name, content string
		}{
			{bundle.Initrd, "initrd", "the same for both"},
			{bundle.Kernel, "vmlinux", string(kernel)},
			{bundle.Headers, "headers.squashfs", ""},
			{bundle.Provenance, "provenance.intoto.json", `{"of":"` + arch + `"}`},
			{bundle.SBOM, "sbom.cdx.json", `{"sbom":"` + arch + `"}`},
		} {
			name := arch + "/" + file.name
			writeFile(t, filepath.Join(s.dir, name), file.content)
			entry, err := bundle.Describe(os.DirFS(s.dir), file.kind, name)
			if err != nil {
				t.Fatal(err)
			}
			described.Files = append(described.Files, entry)
			s.content[name] = file.content
		}
		s.manifest.Architectures = append(s.manifest.Architectures, described)
	}
	canonical, err := s.manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	if s.manifest, err = bundle.Parse(canonical); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(s.dir, "manifest.json"), string(canonical))
	s.content["manifest.json"] = string(canonical)
	if s.id, err = s.manifest.ID(); err != nil {
		t.Fatal(err)
	}
	return s
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// testKey gives the same key for the same number.
func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func (s *testSet) sign(t *testing.T, n byte) {
	t.Helper()
	data, err := signature.Sign(s.manifest, testKey(n))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(s.dir, signature.FileName), string(data))
	s.content[signature.FileName] = string(data)
}

func requireKey(t *testing.T, n byte) *signature.Policy {
	t.Helper()
	policy, err := signature.RequireSigned(signature.Key{Public: testKey(n).Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// push pushes the set as kindling/set:1.
func (s *testSet) push(t *testing.T, r *testRegistry) *Artifact {
	t.Helper()
	artifact, err := newClient().Push(t.Context(), s.dir, r.host+"/kindling/set:1")
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

// read reads a folder with all that is below it.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	content := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && !strings.HasPrefix(name, partialDir) {
			return err
		}
		if entry.IsDir() {
			content[name+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		content[name] = string(data)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return content
}

// checkFolder checks that a folder has these files of the set and nothing else.
func (s *testSet) checkFolder(t *testing.T, dir string, arches ...string) {
	t.Helper()
	want := map[string]string{}
	for name, content := range s.content {
		arch, _, below := strings.Cut(name, "/")
		if len(arches) == 0 || !below || slices.Contains(arches, arch) {
			want[name] = content
		}
	}
	if diff := cmp.Diff(summary(want), summary(read(t, dir))); diff != "" {
		t.Errorf("folder (-want +got):\n%s", diff)
	}
}

// summary makes a difference readable.
func summary(content map[string]string) map[string]string {
	short := map[string]string{}
	for name, text := range content {
		short[name] = fmt.Sprintf("%d bytes, %s", len(text), hashOf([]byte(text)).Hex[:12])
	}
	return short
}

// checkIncomplete checks that nobody takes a folder for a set.
func checkIncomplete(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, "manifest.json")); !os.IsNotExist(err) {
		t.Errorf("folder has a manifest, error %v", err)
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %q", err, want)
	}
}
