package download

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true},
		{"120", 2 * time.Minute, true},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0, true},
		{"", 0, false},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"99999999999999999999", 0, false},
		{"tomorrow", 0, false},
	} {
		if got, ok := retryAfter(test.text); got != test.want || ok != test.ok {
			t.Errorf("retryAfter(%q) = %v, %v, want %v, %v", test.text, got, ok, test.want, test.ok)
		}
	}
}

// TestGoesOn breaks every connection after some bytes: all are read once, in
// order, and each part is asked for from where the last one ended.
func TestGoesOn(t *testing.T) {
	const file = "0123456789abcdefghij"
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := r.Header.Get("Range")
		ranges = append(ranges, from)
		offset := 7 * (len(ranges) - 1)
		if offset > 0 {
			w.Header().Set("Content-Range", "bytes "+from[len("bytes="):]+"19/20")
			w.WriteHeader(http.StatusPartialContent)
		}
		if _, err := io.WriteString(w, file[offset:min(offset+7, len(file))]); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
		if offset+7 < len(file) {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	address, err := url.Parse(server.URL + "/file?token=secret")
	if err != nil {
		t.Fatal(err)
	}
	client := Client{Attempts: 3, Stall: time.Minute, Backoff: time.Millisecond}
	body, err := client.Get(t.Context(), address, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || string(got) != file {
		t.Errorf("read %q, %v, want %q", got, err, file)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	for i, want := range []string{"", "bytes=7-", "bytes=14-"} {
		if i >= len(ranges) || ranges[i] != want {
			t.Errorf("asked for %q, want %q", ranges, want)
		}
	}
}
