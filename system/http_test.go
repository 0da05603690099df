package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

// webSource is a source of a test's server, which gives up soon.
func webSource(t testing.TB, server *httptest.Server) Source {
	t.Helper()
	source, err := HTTP(server.URL+"/set/", HTTPOptions{Transport: server.Client().Transport, Attempts: 3, Stall: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	source.(*httpSource).client.Backoff = time.Millisecond
	return source
}

// serve serves the set's folder, but for its initrd, which is for lie.
func serve(t testing.TB, set fakeSet, lie func(w http.ResponseWriter, r *http.Request, data []byte)) *httptest.Server {
	t.Helper()
	data := set.bytes(t, bundle.Initrd)
	files := http.StripPrefix("/set", http.FileServer(http.Dir(set.dir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/initrd") {
			w.Header().Set("Content-Type", "application/octet-stream")
			lie(w, r, data)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// cut sends a part of the file under its whole length, and breaks the connection.
func cut(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data[:n])
	panic(http.ErrAbortHandler)
}

// status answers with no more than a status.
func status(code int, header ...string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestLyingServers(t *testing.T) {
	set := makeSet(t, 1)
	size := int(set.file(bundle.Initrd).Size)
	tests := []struct {
		name string
		lie  func(w http.ResponseWriter, r *http.Request, data []byte)
		want string // "": it works all the same
	}{
		{"web page", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<html>sign in")
		}, "the server sent a web page"},
		{"too short", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(size-1))
			_, _ = w.Write(data[:size-1])
		}, fmt.Sprintf("the server sends %d bytes, want %d", size-1, size)},
		{"no length", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(data)
		}, ""},
		{"no length and too short", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			w.(http.Flusher).Flush()
			_, _ = w.Write(data[:size/2])
		}, "the server answered 416 Requested Range Not Satisfiable"},
		{"no length and endless", func(w http.ResponseWriter, r *http.Request, data []byte) {
			for r.Context().Err() == nil {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		}, fmt.Sprintf("the server sent more than %d bytes", size)},
		{"other bytes", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			_, _ = w.Write(bytes.Repeat([]byte{0}, len(data)))
		}, "it has SHA-256 "},
		{"redirects in a loop", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, "it redirects more than 5 times"},
		{"redirects to a file", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "it redirects to file:, which is no web server"},
		{"drips", func(w http.ResponseWriter, r *http.Request, data []byte) {
			ticker := time.NewTicker(5 * time.Millisecond)
			defer ticker.Stop()
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			for i := range data {
				if _, err := w.Write(data[i : i+1]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-ticker.C:
				}
			}
		}, "the server sent less than 1024 bytes a second for 500ms (asked 3 times)"},
		{"stalls before the answer", func(_ http.ResponseWriter, r *http.Request, _ []byte) {
			<-r.Context().Done()
		}, "the server sent less than 1024 bytes a second for 500ms (asked 3 times)"},
		{"stalls in the answer", func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "the server sent less than 1024 bytes a second for 500ms (asked 3 times)"},
		{"breaks always", func(w http.ResponseWriter, _ *http.Request, data []byte) { cut(w, data, 0) }, "(asked 3 times)"},
		{"breaks once", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") == "" {
				w.Header().Set("ETag", `"1"`)
				cut(w, data, size/3)
			}
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}, ""},
		{"breaks once and knows no ranges", func() func(http.ResponseWriter, *http.Request, []byte) {
			var asked atomic.Int32
			return func(w http.ResponseWriter, _ *http.Request, data []byte) {
				if asked.Add(1) == 1 {
					cut(w, data, size/3)
				}
				_, _ = w.Write(data)
			}
		}(), ""},
		{"breaks once, then has another file", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("If-Range") == "" {
				w.Header().Set("ETag", `"1"`)
				cut(w, data, size/3)
			}
			w.Header().Set("ETag", `"2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.Repeat([]byte{0}, size)))
		}, "it has SHA-256 "},
		{"another part than asked for", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") == "" {
				cut(w, data, size/3)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data)
		}, fmt.Sprintf(`the server sent the part "bytes 0-%d/%d", want all from byte %d`, size-1, size, size/3)},
		{"a part unasked", status(http.StatusPartialContent, "Content-Range", "bytes 0-0/1"), `the server sent the part "bytes 0-0/1", want all from byte 0`},
		{"says when to come again", func() func(http.ResponseWriter, *http.Request, []byte) {
			var asked atomic.Int32
			return func(w http.ResponseWriter, _ *http.Request, data []byte) {
				if asked.Add(1) == 1 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				_, _ = w.Write(data)
			}
		}(), ""},
		{"says to come tomorrow", status(http.StatusTooManyRequests, "Retry-After", "86400"), "the server answered 429 Too Many Requests, ask again in 24h0m0s"},
		{"too busy", status(http.StatusServiceUnavailable), "the server answered 503 Service Unavailable (asked 3 times)"},
		{"no credentials", status(http.StatusUnauthorized), "the server answered 401 Unauthorized: it wants credentials"},
		{"forbidden", status(http.StatusForbidden), "the server answered 403 Forbidden: it wants credentials"},
		{"proxy", status(http.StatusProxyAuthRequired), "the proxy answered 407 Proxy Authentication Required: it wants credentials"},
		{"gone", status(http.StatusNotFound), "the server answered 404 Not Found: file does not exist"},
		{"nothing", status(http.StatusNoContent), "the server answered 204 No Content"},
		{"gzip", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, "the server sent it with Content-Encoding gzip, which nobody asked for"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, set, test.lie)
			s := NewStore(t.TempDir(), Options{Sources: []Source{webSource(t, server)}})
			_, err := s.Install(t.Context(), set.id)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Resolve(t.Context(), set.id, "")
				if err != nil {
					t.Fatal(err)
				}
				wantSet(t, got, set)
				return
			}
			source, ok := errors.AsType[*SourceError](err)
			if !ok || !errors.Is(err, ErrDownloadFailed) || source.Source != server.URL+"/set/" || !strings.HasSuffix(source.File, "/initrd") {
				t.Fatalf("got error %v, want one that names source and file", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want it to have %q", err, test.want)
			}
			t.Log(source)
			for name := range tree(t, s.dataDir) {
				if strings.Contains(name, set.file(bundle.Initrd).SHA256) || strings.HasPrefix(name, "system/tmp/") {
					t.Errorf("it left %s", name)
				}
			}
		})
	}
}

func TestRedirectFromHTTPS(t *testing.T) {
	set := makeSet(t, 1)
	plain := serve(t, set, func(w http.ResponseWriter, _ *http.Request, data []byte) { _, _ = w.Write(data) })
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusFound)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	s := NewStore(t.TempDir(), Options{Sources: []Source{webSource(t, server)}})
	if _, err := s.Install(t.Context(), set.id); err == nil || !strings.HasSuffix(err.Error(), "it redirects from https to http") {
		t.Errorf("got error %v", err)
	}
	// A certificate that nobody vouches for is no reason to ask again.
	source, err := HTTP(server.URL, HTTPOptions{Transport: &http.Transport{}})
	if err != nil {
		t.Fatal(err)
	}
	s = NewStore(t.TempDir(), Options{Sources: []Source{source}})
	if _, err := s.Install(t.Context(), set.id); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "asked") {
		t.Errorf("unknown certificate: got error %v", err)
	}
}

func TestLyingManifests(t *testing.T) {
	set, other := makeSet(t, 1), makeSet(t, 2)
	good, err := other.manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, data, id, want string }{
		{"another set", string(good), set.id, "it has artifact set " + other.id + ", want " + set.id},
		{"no manifest", "hello", "", "parse manifest: "},
		{"too long", strings.Repeat(" ", manifestLimit+1), "", "read manifest: it has more than 1048576 bytes"},
		{"leads out of its folder", strings.Replace(string(good), `"x86_64/initrd"`, `"../../initrd"`, 1), "", "want a path below the manifest's folder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(test.data))
			}))
			defer server.Close()
			s := NewStore(t.TempDir(), Options{Sources: []Source{webSource(t, server)}})
			_, err := s.Install(t.Context(), test.id)
			if !errors.Is(err, ErrDownloadFailed) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want it to have %q", err, test.want)
			}
		})
	}
}

func TestHTTPAddresses(t *testing.T) {
	for _, address := range []string{"", "set", "file:///set", "ftp://host/set", "https:///set", "https://host/set?a", "https://host/set#a", "://"} {
		if _, err := HTTP(address, HTTPOptions{}); err == nil {
			t.Errorf("HTTP(%q): no error", address)
		}
	}
	source, err := HTTP("http://user:secret@host.example/set", HTTPOptions{Attempts: 1, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("refused")
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Manifest(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "nobody vouches") {
		t.Errorf("unpinned over plain http: got error %v", err)
	}
	if _, err := source.Open(t.Context(), "", bundle.File{Name: "x86_64/a b%2f"}); err == nil || err.Error() != "get http://user:xxxxx@host.example/set/x86_64/a%20b%252f: refused (asked 1 times)" {
		t.Errorf("got error %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestIPv6Only(t *testing.T) {
	set := makeSet(t, 1)
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.StripPrefix("/set", http.FileServer(http.Dir(set.dir))))
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	defer server.Close()
	s := NewStore(t.TempDir(), Options{Sources: []Source{webSource(t, server)}})
	if _, err := s.Install(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

func TestStalledDownloadEndsWithItsContext(t *testing.T) {
	set := makeSet(t, 1)
	asked := make(chan struct{}, 10)
	server := serve(t, set, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	source, err := HTTP(server.URL+"/set", HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	s := NewStore(t.TempDir(), Options{Sources: []Source{source}})
	if _, err := s.Install(ctx, set.id); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

// TestProxy installs in a process of its own: the environment is read once.
func TestProxy(t *testing.T) {
	set := makeSet(t, 1)
	var hosts atomic.Value
	files := http.StripPrefix("/set", http.FileServer(http.Dir(set.dir)))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts.Store(r.Host)
		files.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	dataDir := t.TempDir()
	helper := helperProcess(t, helperInstall{DataDir: dataDir, Address: "http://kindling.invalid/set", ID: set.id})
	helper.Env = append(os.Environ(), append(helper.Env, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")...)
	if out, err := helper.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if host, err := url.Parse("http://kindling.invalid"); err != nil || hosts.Load() != host.Host {
		t.Errorf("proxy was asked for %v", hosts.Load())
	}
	if _, err := NewStore(dataDir, Options{}).Resolve(t.Context(), set.id, ""); err != nil {
		t.Error(err)
	}
}
