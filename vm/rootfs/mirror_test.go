package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// serveImage serves a registry with an image, and counts its requests that are
// not the first ping.
func serveImage(t *testing.T, repository string, img v1.Image) (host string, requests *[]string) {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	requests = new([]string)
	host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			*requests = append(*requests, r.Method+" "+r.URL.Path)
		}
		handler.ServeHTTP(w, r)
	}))
	if img != nil {
		reference, err := name.ParseReference(host + "/" + repository + ":1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(reference, img); err != nil {
			t.Fatal(err)
		}
	}
	*requests = nil
	return host, requests
}

func writeFrom(t *testing.T, ref string, o Options) error {
	t.Helper()
	image, err := Load(t.Context(), ref, amd64, o)
	if err != nil {
		return err
	}
	_, err = image.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "disk"), nil)
	return err
}

func TestLoadMirrors(t *testing.T) {
	img := newImage(t, amd64)
	origin, asked := serveImage(t, "team/app", img)
	full, askedFull := serveImage(t, "cache/team/app", img)
	empty, askedEmpty := serveImage(t, "", nil)
	broken := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	tests := []struct {
		name        string
		mirrors     []string
		origin      bool // is asked
		full, empty bool
	}{
		{"none", nil, true, false, false},
		{"one that has it", []string{full + "/cache"}, false, true, false},
		{"one that has nothing", []string{empty}, true, false, true},
		{"one that is broken", []string{broken, full + "/cache/"}, false, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			*asked, *askedFull, *askedEmpty = nil, nil, nil
			if err := writeFrom(t, origin+"/team/app:1", Options{Mirrors: test.mirrors}); err != nil {
				t.Fatal(err)
			}
			if got := len(*asked) > 0; got != test.origin {
				t.Errorf("origin was asked %q, want %v", *asked, test.origin)
			}
			if got := len(*askedFull) > 0; got != test.full {
				t.Errorf("mirror was asked %q, want %v", *askedFull, test.full)
			}
			if got := len(*askedEmpty) > 0; got != test.empty {
				t.Errorf("empty mirror was asked %q, want %v", *askedEmpty, test.empty)
			}
		})
	}
	for _, mirror := range []string{"https://" + full, "mirror", "localhost/UPPER"} {
		if err := writeFrom(t, origin+"/team/app:1", Options{Mirrors: []string{mirror}}); err == nil || !strings.Contains(err.Error(), "mirror ") {
			t.Errorf("mirror %q: got error %v, want one about it", mirror, err)
		}
	}
}

// memory keeps documents.
type memory map[v1.Hash][]byte

func (m memory) Get(digest v1.Hash) ([]byte, error) {
	if data, ok := m[digest]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}

func (m memory) Put(digest v1.Hash, data []byte) error {
	m[digest] = data
	return nil
}

func TestLoadDocuments(t *testing.T) {
	img := newImage(t, amd64)
	host, requests := serveImage(t, "app", img)
	manifest := digestOf(t, img)
	kept := memory{}
	for _, test := range []struct {
		name, ref string
		change    func()
		want      int
	}{
		{"nothing kept", ":1", nil, 2}, // manifest, configuration
		{"tag", ":1", nil, 1},
		{"digest", "@" + manifest.String(), nil, 0},
		{"damaged", "@" + manifest.String(), func() { kept[manifest] = []byte("{}") }, 1},
		{"repaired", "@" + manifest.String(), nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change != nil {
				test.change()
			}
			*requests = nil
			if _, err := Load(t.Context(), host+"/app"+test.ref, amd64, Options{Documents: kept}); err != nil {
				t.Fatal(err)
			}
			if len(*requests) != test.want {
				t.Errorf("got requests %q, want %d", *requests, test.want)
			}
		})
	}
	_, err := Load(t.Context(), host+"/app@"+manifest.String(), arm64, Options{Documents: kept})
	if want := `no image is for "linux/arm64", there is ["linux/amd64"]`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("kept image of another platform: got error %v, want %s", err, want)
	}
}

// breaking answers requests for a layer with half of it, a number of times.
func breaking(handler http.Handler, layer string, times int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer) || times == 0 {
			handler.ServeHTTP(w, r)
			return
		}
		times--
		recorded := httptest.NewRecorder()
		handler.ServeHTTP(recorded, r)
		w.Header().Set("Content-Length", strconv.Itoa(recorded.Body.Len()))
		if _, err := w.Write(recorded.Body.Bytes()[:recorded.Body.Len()/2]); err != nil {
			panic(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		panic(http.ErrAbortHandler)
	})
}

func TestLoadResumes(t *testing.T) {
	img := newImage(t, amd64)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := digestOf(t, layers[0]).String()
	origin := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	reference, err := name.ParseReference(serve(t, origin) + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference, img); err != nil {
		t.Fatal(err)
	}
	const always = 1000
	if err := writeFrom(t, serve(t, breaking(origin, layer, maxResumes))+"/app:1", Options{}); err != nil {
		t.Errorf("connection that breaks a few times: %v", err)
	}
	broken := serve(t, breaking(origin, layer, always))
	if err := writeFrom(t, broken+"/app:1", Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("connection that always breaks: got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if err := writeFrom(t, reference.Name(), Options{Mirrors: []string{broken}}); err != nil {
		t.Errorf("mirror whose connection breaks: %v", err)
	}
}
