package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

func clientFor(s *fetchtest.Server) *Client {
	client := New()
	client.AllowHTTPLoopback = true
	client.Clock = s.Clock
	client.Jitter = func() float64 { return 1 }
	return client
}

// fetch gives what came, as text.
func fetch(ctx context.Context, t *testing.T, client *Client, url string) (string, error) {
	t.Helper()
	dst, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	result, err := client.Fetch(ctx, Request{URL: url + "/file?key=secret", MaxSize: 1000}, dst)
	if err != nil {
		return "", err
	}
	data, readErr := os.ReadFile(dst.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	want := Result{SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Size: int64(len(data))}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-of the file +got):\n%s", diff)
	}
	return string(data), nil
}

func seconds(n ...time.Duration) []time.Duration {
	for i := range n {
		n[i] *= time.Second
	}
	return n
}

func TestFetch(t *testing.T) {
	const (
		etag   = `ETag: "one"`
		resume = `bytes=40- "one"`
	)
	var (
		with, whole, rest, cutAt = fetchtest.With, fetchtest.Whole, fetchtest.Rest, fetchtest.CutAt
		content, other           = fetchtest.Content, strings.Repeat("x", 70)
	)
	type answers []fetchtest.Answer
	tests := []struct {
		name    string
		answers answers
		want    string
		ranges  []string
		slept   []time.Duration
	}{
		{"whole", answers{whole}, content, []string{""}, nil},
		{"empty", answers{with(200, "")}, "", []string{""}, nil},
		{"redirect on this machine", answers{fetchtest.Redirect("/other"), whole}, content, []string{"", ""}, nil},
		{"chunked, with no length", answers{fetchtest.Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")},
			"hello", []string{""}, nil},
		{"broken, goes on", answers{cutAt(40, etag), rest(40, etag)}, content, []string{"", resume}, seconds(1)},
		{"broken twice, goes on", answers{cutAt(40, etag), with(206, content[40:60], "Content-Range: bytes 40-99/100", "Content-Length: 60"), rest(60)},
			content, []string{"", resume, `bytes=60- "one"`}, seconds(1, 2)},
		{"reset", answers{fetchtest.Reset, whole}, content, []string{"", ""}, seconds(1)},
		{"stalled", answers{fetchtest.StallAt(0), whole}, content, []string{"", ""}, seconds(1)},
		{"broken, no validator", answers{cutAt(40), whole}, content, []string{"", ""}, seconds(1)},
		{"broken, weak validator", answers{cutAt(40, `ETag: W/"one"`), whole}, content, []string{"", ""}, seconds(1)},
		{"broken, malformed validator", answers{cutAt(40, `ETag: one`), whole}, content, []string{"", ""}, seconds(1)},
		{"broken, server has no ranges", answers{cutAt(40, etag), whole}, content, []string{"", resume}, seconds(1)},
		{"broken, file changed", answers{cutAt(40, etag), with(200, other)}, other, []string{"", resume}, seconds(1)},
		{"broken, part of the changed file", answers{cutAt(40, etag), rest(40, `ETag: "two"`), with(200, other)},
			other, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, other part", answers{cutAt(40, etag), rest(39), whole}, content, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, part not to the end", answers{cutAt(40, etag), with(206, content[40:90], "Content-Range: bytes 40-89/100"), whole},
			content, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, part of a longer file", answers{cutAt(40, etag), with(206, other, "Content-Range: bytes 40-109/110"), whole},
			content, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, part of other length", answers{cutAt(40, etag), with(206, content[41:], "Content-Range: bytes 40-99/100"), whole},
			content, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, part with no range", answers{cutAt(40, etag), with(206, content[40:]), whole}, content, []string{"", resume, ""}, seconds(1, 2)},
		{"broken, range refused", answers{cutAt(40, etag), with(416, ""), whole}, content, []string{"", resume, ""}, seconds(1, 2)},
		{"asked to wait", answers{with(429, "", "Retry-After: 7"), whole}, content, []string{"", ""}, seconds(7)},
		{"asked to wait till a date", answers{with(503, "", "Retry-After: Fri, 02 Jan 2026 12:00:09 GMT"), whole}, content, []string{"", ""}, seconds(9)},
		{"asked to come at once", answers{with(503, "", "Retry-After: 0"), whole}, content, []string{"", ""}, seconds(1)},
		{"asked for nonsense", answers{with(503, "", "Retry-After: soon"), whole}, content, []string{"", ""}, seconds(1)},
		{"answers at last", answers{with(500, ""), with(502, ""), with(503, ""), with(504, ""), with(408, ""), whole},
			content, []string{"", "", "", "", "", ""}, seconds(1, 2, 4, 8, 16)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := fetchtest.NewServer(t, test.answers...)
			s.Start()
			got, err := fetch(t.Context(), t, clientFor(s), s.URL)
			if got != test.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			if diff := cmp.Diff(test.ranges, s.Ranges()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.slept, s.Clock.Slept()); diff != "" {
				t.Errorf("waited (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFetchRejects(t *testing.T) {
	long := strings.Repeat("x", 1001)
	lies := append([]fetchtest.Lie{
		{Name: "too long", Answer: fetchtest.With(200, long), Want: "file has 1001 bytes, want at most 1000"},
		{Name: "too long without saying so", Answer: fetchtest.Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + long + "\r\n0\r\n\r\n"),
			Want: "file has more than the 1000 bytes that are allowed"},
	}, fetchtest.Lies...)
	for _, lie := range lies {
		t.Run(lie.Name, func(t *testing.T) {
			s := fetchtest.NewServer(t, lie.Answer)
			s.Start()
			_, err := fetch(t.Context(), t, clientFor(s), s.URL)
			// Neither this URL's query nor that of a redirect may be shown.
			want := "fetch " + s.URL + "/file: " + lie.Want
			if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v\nwant %s", err, want)
			}
			if slept := s.Clock.Slept(); len(slept) != lie.Waits {
				t.Errorf("waited %v, want %d times", slept, lie.Waits)
			}
		})
	}
}

func TestFetchFromTLS(t *testing.T) {
	tests := []struct {
		name   string
		answer fetchtest.Answer
		http2  bool
		want   string // error, or ""
	}{
		{"whole", fetchtest.Whole, false, ""},
		{"HTTP/2", fetchtest.Whole, true, ""},
		{"HTTP/2 with no length", func(_ *fetchtest.Server, w http.ResponseWriter, _ *http.Request) {
			for half := range 2 {
				if _, err := io.WriteString(w, fetchtest.Content[half*50:][:50]); err != nil {
					panic(err)
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					panic(err)
				}
			}
		}, true, ""},
		{"HTTP/2 that breaks off", fetchtest.CutAt(40), true, "6 attempts: "},
		{"redirect to http of the same host", func(s *fetchtest.Server, w http.ResponseWriter, r *http.Request) {
			fetchtest.Redirect(strings.Replace(s.URL, "https", "http", 1)+"/file")(s, w, r)
		}, false, "server redirects to http://"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := fetchtest.NewServer(t, test.answer)
			s.EnableHTTP2 = test.http2
			s.StartTLS()
			client := clientFor(s)
			client.Transport = s.Client().Transport
			got, err := fetch(t.Context(), t, client, s.URL)
			if test.want == "" && (got != fetchtest.Content || err != nil) {
				t.Errorf("got %q, %v, want %q", got, err, fetchtest.Content)
			}
			if want := "fetch " + s.URL + "/file: " + test.want; test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
				t.Errorf("got error %v\nwant %s", err, want)
			}
		})
	}
	t.Run("certificate of nobody", func(t *testing.T) {
		s := fetchtest.NewServer(t, fetchtest.Whole)
		s.StartTLS()
		const want = "tls: failed to verify certificate"
		if _, err := fetch(t.Context(), t, clientFor(s), s.URL); err == nil || !strings.Contains(err.Error(), want) || len(s.Clock.Slept()) > 0 {
			t.Errorf("got error %v after waiting %v, want %s at once", err, s.Clock.Slept(), want)
		}
	})
}

func TestFetchFromIPv6(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	s := fetchtest.NewServer(t, fetchtest.Whole)
	if err := s.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	s.Listener = listener
	s.Start()
	if got, err := fetch(t.Context(), t, clientFor(s), s.URL); got != fetchtest.Content || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, fetchtest.Content)
	}
}

func TestFetchInterrupted(t *testing.T) {
	interrupt := errors.New("interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := fetchtest.NewServer(t, func(_ *fetchtest.Server, _ http.ResponseWriter, r *http.Request) {
		cancel(interrupt)
		<-r.Context().Done()
	})
	s.Start()
	if _, err := fetch(ctx, t, clientFor(s), s.URL); !errors.Is(err, interrupt) || len(s.Ranges()) != 1 {
		t.Errorf("got error %v after %d requests, want %v after 1", err, len(s.Ranges()), interrupt)
	}
}

// TestFetchVerifies changes the file on disk between two parts.
func TestFetchVerifies(t *testing.T) {
	dst, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	s := fetchtest.NewServer(t, fetchtest.CutAt(40, `ETag: "one"`), func(s *fetchtest.Server, w http.ResponseWriter, r *http.Request) {
		if _, err := dst.WriteAt([]byte("X"), 0); err != nil {
			panic(err)
		}
		fetchtest.Rest(40)(s, w, r)
	})
	s.Start()
	_, err = clientFor(s).Fetch(t.Context(), Request{URL: s.URL, MaxSize: 1000}, dst)
	if want := "fetch " + s.URL + ": " + dst.Name() + " does not hold the bytes that were written to it"; err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant %s", err, want)
	}
}

func TestFetchToUnwritableFile(t *testing.T) {
	dst, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	s := fetchtest.NewServer(t, fetchtest.Whole)
	s.Start()
	_, err = clientFor(s).Fetch(t.Context(), Request{URL: s.URL, MaxSize: 1000}, dst)
	if _, ok := errors.AsType[*os.PathError](err); !ok || len(s.Clock.Slept()) > 0 {
		t.Errorf("got error %v after waiting %v, want that of the file at once", err, s.Clock.Slept())
	}
}

func TestBytes(t *testing.T) {
	s := fetchtest.NewServer(t, fetchtest.Whole)
	s.Start()
	t.Setenv("TMPDIR", t.TempDir())
	got, err := clientFor(s).Bytes(t.Context(), Request{URL: s.URL, MaxSize: 100})
	if string(got) != fetchtest.Content || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, fetchtest.Content)
	}
	if _, err := clientFor(s).Bytes(t.Context(), Request{URL: s.URL, MaxSize: 99}); err == nil {
		t.Error("got more than is allowed")
	}
	if left, err := os.ReadDir(os.TempDir()); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}
