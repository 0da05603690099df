package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

// breakOff sends a file up to some byte and ends the connection.
func breakOff(content string, at int) fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if _, err := io.WriteString(w, content[:at]); err != nil {
			panic(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		panic(http.ErrAbortHandler)
	}
}

// answer gives one answer.
func answer(code int, body string, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		if body != "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(code)
		// The client may have had enough.
		_, _ = io.WriteString(w, body)
	}
}

// TestRecovery has what a pull gets over.
func TestRecovery(t *testing.T) {
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	half := len(content) / 2
	rest := fmt.Sprintf("bytes=%d-%d", half, len(content)-1)
	tests := []struct {
		name  string
		fault func(r *testRegistry) fault
		// again is what happens to the second request for the kernel, nil for
		// nothing.
		again  fault
		ranged int // requests for the second half
		whole  int // requests for the kernel, all
		slept  time.Duration
	}{
		{name: "connection breaks", fault: steady(breakOff(content, half)), ranged: 1, whole: 2, slept: time.Second},
		{name: "server without ranges", fault: steady(breakOff(content, half)), again: answer(200, content), ranged: 1, whole: 2, slept: time.Second},
		{name: "416", fault: steady(breakOff(content, half)), again: answer(416, ""), ranged: 1, whole: 3, slept: time.Second},
		{name: "other part", fault: steady(breakOff(content, half)), again: answer(206, content[:half], "Content-Range", fmt.Sprintf("bytes 0-%d/%d", half-1, len(content))), ranged: 1, whole: 3, slept: time.Second},
		{name: "part with other bytes", fault: steady(breakOff(content, half)), again: answer(206, strings.Repeat("x", len(content)-half), "Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, len(content)-1, len(content))), ranged: 1, whole: 3},
		{name: "first half with other bytes", fault: steady(breakOff(strings.Repeat("x", len(content)), half)), ranged: 1, whole: 3},
		{name: "500", fault: steady(answer(500, "")), whole: 2, slept: time.Second},
		{name: "503 with a time in seconds", fault: steady(answer(503, "", "Retry-After", "7")), whole: 2, slept: 7 * time.Second},
		{name: "429 with a date", fault: steady(answer(429, "", "Retry-After", now.Add(9*time.Second).Format(http.TimeFormat))), whole: 2, slept: 9 * time.Second},
		{name: "429 without a time", fault: steady(answer(429, "", "Retry-After", "soon")), whole: 2, slept: time.Second},
		{name: "redirect", fault: func(r *testRegistry) fault {
			return func(w http.ResponseWriter, request *http.Request) {
				http.Redirect(w, request, "http://"+r.host+request.URL.Path, http.StatusTemporaryRedirect)
			}
		}, whole: 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRegistry(t)
			ref := set.push(t, r).Reference
			r.misbehave(inOrder(kernel, test.fault(r), test.again))
			client, clock := newClient(), newClock()
			client.clock = clock
			dir := t.TempDir()
			if _, err := client.Pull(t.Context(), ref, dir, Want{}); err != nil {
				t.Fatal(err)
			}
			set.checkFolder(t, dir)
			if got := r.count("sha256:" + kernel.SHA256 + " " + rest); got != test.ranged {
				t.Errorf("%d requests for %s, want %d: %q", got, rest, test.ranged, r.requests)
			}
			if got := r.count("sha256:" + kernel.SHA256); got != test.whole {
				t.Errorf("%d requests for the kernel, want %d: %q", got, test.whole, r.requests)
			}
			if test.slept > 0 && !slices.Contains(clock.slept, test.slept) {
				t.Errorf("slept %v, want %v", clock.slept, test.slept)
			}
		})
	}
}

func steady(f fault) func(*testRegistry) fault {
	return func(*testRegistry) fault { return f }
}

// TestResume breaks off for good, and goes on in another pull.
func TestResume(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	broken := inOrder(kernel, breakOff(content, len(content)/2))
	refused := onBlob(kernel, answer(404, ""))
	r.misbehave(func(w http.ResponseWriter, request *http.Request) bool {
		return broken(w, request) || refused(w, request)
	})
	dir := t.TempDir()
	_, err := newClient().Pull(t.Context(), ref, dir, Want{})
	checkError(t, err, "get "+kernel.Name+" (sha256:"+kernel.SHA256+"): ")
	checkIncomplete(t, dir)
	r.misbehave(nil)
	if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); err != nil {
		t.Fatal(err)
	}
	set.checkFolder(t, dir)
	if got := r.count(fmt.Sprintf("sha256:%s bytes=%d-", kernel.SHA256, len(content)/2)); got != 1 {
		t.Errorf("%d requests for the rest, want 1: %q", got, r.requests)
	}
}

// TestStall has a server that sends a little and then nothing.
func TestStall(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	kernel := set.file(t, bundle.Kernel)
	client, clock := newClient(), newClock()
	client.clock = clock
	stall := func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(kernel.Size, 10))
		if _, err := io.WriteString(w, set.content[kernel.Name][:1000]); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		clock.stalled <- struct{}{}
		<-request.Context().Done()
	}
	// The kernel comes alone, so that the clock strikes for it.
	dir := t.TempDir()
	pull := func() error {
		_, err := client.Pull(t.Context(), ref, dir, Want{})
		return err
	}
	removeKernel := func() {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, kernel.Name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	removeKernel()
	r.misbehave(inOrder(kernel, stall))
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	set.checkFolder(t, dir)
	removeKernel()
	r.misbehave(onBlob(kernel, stall))
	err := pull()
	checkError(t, err, "5 attempts without a gain: server stalls: it sent ")
}

// TestLies has what no pull may get over, whether for a file or a document.
func TestLies(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	other := "x" + content[1:]
	size := len(content)
	html := "<!doctype html><title>Log in</title>"
	toSelf := func(w http.ResponseWriter, request *http.Request) {
		http.Redirect(w, request, request.URL.Path+"?again", http.StatusFound)
	}
	tests := []struct {
		name  string
		fault fault
		want  string
	}{
		{"wrong bytes", answer(200, other), fmt.Sprintf("file has digest %s (%d bytes), want sha256:%s", hashOf([]byte(other)), size, kernel.SHA256)},
		{"shorter file", answer(200, content[1:]), fmt.Sprintf("server says it sends %d bytes, want %d", size-1, size)},
		{"longer file", answer(200, content+"x"), fmt.Sprintf("server says it sends %d bytes, want %d", size+1, size)},
		{"longer file without a length", func(w http.ResponseWriter, r *http.Request) {
			answer(200, "")(w, r)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, content+"x")
		}, fmt.Sprintf("server sends more than the %d bytes of the file", size)},
		{"cut without a length", func(w http.ResponseWriter, r *http.Request) {
			answer(200, "")(w, r)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, content[:10])
		}, fmt.Sprintf("got 10 of %d bytes: unexpected EOF", size)},
		{"always cut", breakOff(content, 10), fmt.Sprintf("5 attempts without a gain: read after 10 of %d bytes: unexpected EOF", size)},
		{"web page", answer(200, html, "Content-Type", "text/html; charset=utf-8"), r.host + " sends a web page (text/html)"},
		{"compressed", answer(200, content, "Content-Encoding", "gzip"), `encodes as "gzip", want bytes as they are`},
		{"part", answer(206, content[:10], "Content-Range", fmt.Sprintf("bytes 0-9/%d", size)), "want the whole"},
		{"redirects in a circle", toSelf, "more than 5 redirects"},
		{"redirect to a file", answer(302, "", "Location", "file:///etc/passwd"), "redirect from http to file is not followed"},
		{"redirect to a private address", answer(302, "", "Location", "http://169.254.169.254/latest"), "redirect from " + r.host + " to the private address 169.254.169.254 is not followed"},
		{"redirect to a socket of another name", answer(302, "", "Location", "http://localhost/x"), "private address localhost is not followed"},
		{"401", answer(401, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`), r.host + ` says 401 Unauthorized ("UNAUTHORIZED: who are you?"); credentials come from docker login or crane auth login`},
		{"403", answer(403, `{"errors":[{"code":"DENIED","message":"\u001b[2Jno"}]}`), r.host + ` says 403 Forbidden ("DENIED: \x1b[2Jno"); credentials`},
		{"404", answer(404, html), r.host + " says 404 Not Found"},
		{"407", answer(407, ""), "HTTPS_PROXY"},
		{"429 for long", answer(429, "", "Retry-After", "3600"), "says 429 Too Many Requests, and to come again in 1h0m0s, which is more than 2m0s"},
		{"500 for ever", answer(500, ""), "5 attempts without a gain: " + r.host + " says 500 Internal Server Error"},
		{"204", answer(204, ""), "says 204 No Content"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r.misbehave(onBlob(kernel, test.fault))
			dir := t.TempDir()
			_, err := newClient().Pull(t.Context(), ref, dir, Want{})
			checkError(t, err, test.want)
			checkError(t, err, fmt.Sprintf("pull %q: get %s (sha256:%s): ", ref, kernel.Name, kernel.SHA256))
			checkIncomplete(t, dir)
			if err != nil && strings.Contains(err.Error(), "doctype") {
				t.Errorf("error quotes a page: %v", err)
			}
		})
	}
	t.Run("gone afterwards", func(t *testing.T) {
		r.misbehave(onBlob(kernel, answer(200, other)))
		dir := t.TempDir()
		if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); err == nil {
			t.Error("got no error")
		}
		r.misbehave(nil)
		if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); err != nil {
			t.Error(err)
		}
		set.checkFolder(t, dir)
	})
}

// TestLiesOfDocuments has the same for the index, a manifest and manifest.json.
func TestLiesOfDocuments(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	_, index, _ := strings.Cut(ref, "@")
	onPath := func(suffix string, fault fault) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, suffix) {
				return false
			}
			fault(w, r)
			return true
		}
	}
	tests := []struct {
		name, path string
		fault      fault
		want       string
	}{
		{"other index", "/manifests/" + index, answer(200, "{}"), "it has digest " + hashOf([]byte("{}")).String() + " (2 bytes), want " + index},
		{"web page for the index", "/manifests/" + index, answer(200, "<html>", "Content-Type", "text/html"), "get index manifests/" + index + ": " + r.host + "/kindling/set: " + r.host + " sends a web page"},
		{"long index", "/manifests/" + index, answer(200, strings.Repeat(" ", maxDocument+1)), "it has more than 4194304 bytes"},
		{"no index", "/manifests/" + index, answer(404, ""), "says 404 Not Found"},
		{"index behind a login", "/manifests/" + index, answer(401, ""), "says 401 Unauthorized; credentials"},
		{"index in a circle", "/manifests/" + index, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, 302) }, "more than 5 redirects"},
		{"other manifest.json", "/blobs/" + set.id, answer(200, "{}"), "get manifest.json blobs/" + set.id},
		{"cut manifest.json", "/blobs/" + set.id, breakOff(set.content["manifest.json"], 20), "5 attempts without a gain: read after 20 bytes: unexpected EOF"},
		{"no registry", "/v2/", answer(404, ""), "connect to " + r.host + ": " + r.host + " says 404 Not Found"},
		{"registry down", "/v2/", answer(503, ""), "5 attempts without a gain: connect to " + r.host + ": " + r.host + " says 503"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r.misbehave(onPath(test.path, test.fault))
			_, err := newClient().Pull(t.Context(), ref, t.TempDir(), Want{})
			checkError(t, err, test.want)
			checkError(t, err, fmt.Sprintf("pull %q: ", ref))
		})
	}
	// A tag may say anything.
	r.misbehave(onPath("/manifests/1", answer(200, "{}")))
	_, err := newClient().Pull(t.Context(), r.host+"/kindling/set:1", t.TempDir(), Want{SetID: set.id})
	checkError(t, err, `parse index: it is a "" of version 0`)
}

func TestNobodyListens(t *testing.T) {
	server := newRegistry(t)
	ref := newSet(t, 1).push(t, server).Reference
	refused := errors.New("refused")
	client := newClient()
	client.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, refused })
	_, err := client.Pull(t.Context(), ref, t.TempDir(), Want{})
	if !errors.Is(err, refused) {
		t.Errorf("got error %v, want %v", err, refused)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestNoPlace has a file that cannot be written, which no other source helps
// against.
func TestNoPlace(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	client := newClient()
	client.Mirrors = []string{r.host}
	dir := t.TempDir()
	kernel := set.file(t, bundle.Kernel)
	folder, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, folder.partName(kernel))
	if err := folder.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(part, 0o700); err != nil {
		t.Fatal(err)
	}
	r.misbehave(nil)
	_, err = client.Pull(t.Context(), ref, dir, Want{})
	checkError(t, err, "get "+kernel.Name)
	if got := r.count(kernel.SHA256); got != 0 {
		t.Errorf("%d requests for a file that has no place", got)
	}
}
