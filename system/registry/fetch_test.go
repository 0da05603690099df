package registry

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

// As package system declares it.
var _ interface {
	Manifest(ctx context.Context, id string) ([]byte, error)
	Open(ctx context.Context, id string, file bundle.File) (io.ReadCloser, error)
	String() string
} = (*Source)(nil)

func newSource(t *testing.T, client *Client, ref string, want Want) *Source {
	t.Helper()
	s, err := client.Source(ref, want)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSource(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	other := newSet(t, 2)
	ref := set.push(t, r).Reference
	repo := r.host + "/kindling/set"
	if _, err := newClient().Push(t.Context(), other.dir, repo+":2", crypto.Signer(testKey(1))); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, ref, id string
		want          Want
		is            error
		set           *testSet
	}{
		{name: "digest", ref: ref, set: set},
		{name: "digest and ID", ref: ref, id: set.id, set: set},
		{name: "repository", ref: repo, id: set.id, set: set},
		{name: "repository, other set", ref: repo, id: other.id, set: other},
		{name: "wanted ID", ref: repo, want: Want{SetID: set.id}, set: set},
		{name: "signed", ref: repo + ":2", want: Want{Policy: requireKey(t, 1)}, set: other},
		{name: "not signed", ref: repo, id: set.id, want: Want{Policy: requireKey(t, 1)}, is: signature.ErrMissing},
		{name: "digest and other ID", ref: ref, id: other.id, is: ErrOtherSet},
		{name: "wanted ID and other ID", ref: repo, want: Want{SetID: set.id}, id: other.id, is: ErrOtherSet},
		{name: "tag alone", ref: repo + ":1", is: ErrUnpinned},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSource(t, newClient(), test.ref, test.want)
			if s.String() != test.ref {
				t.Errorf("got name %s, want %s", s, test.ref)
			}
			data, err := s.Manifest(t.Context(), test.id)
			if test.is != nil {
				if !errors.Is(err, test.is) {
					t.Errorf("got error %v, want %v", err, test.is)
				}
				return
			}
			if err != nil || string(data) != test.set.content["manifest.json"] {
				t.Fatalf("got %d bytes, error %v", len(data), err)
			}
			for _, arch := range test.set.manifest.Architectures {
				for _, file := range arch.Files {
					got, err := readStream(t.Context(), s, file)
					if err != nil || got != test.set.content[file.Name] {
						t.Errorf("%s: got %d bytes, error %v, want %d", file.Name, len(got), err, file.Size)
					}
				}
			}
		})
	}
	if _, err := newClient().Source(repo, Want{Arches: []string{"x86_64"}}); err == nil {
		t.Error("a source with architectures is no error")
	}
	if _, err := newClient().Source("a b", Want{}); err == nil {
		t.Error("a malformed reference is no error")
	}
}

func readStream(ctx context.Context, s *Source, file bundle.File) (string, error) {
	body, err := s.Open(ctx, "", file)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

// TestStream has what a stream gets over, and what not.
func TestStream(t *testing.T) {
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	half := len(content) / 2
	rest := fmt.Sprintf("bytes %d-%d/%d", half, len(content)-1, len(content))
	tests := []struct {
		name          string
		first, second fault // nil for none
		want          string
	}{
		{"breaks", breakOff(content, half), nil, ""},
		{"breaks, server without ranges", breakOff(content, half), answer(200, content), ""},
		{"breaks, server without ranges that breaks again", breakOff(content, half), breakOff(content, half/2), ""},
		{"breaks, 416", breakOff(content, half), answer(416, ""), ""},
		{"breaks, other part", breakOff(content, half), answer(206, content[:half], "Content-Range", "bytes 0-5/6"), ""},
		{"breaks, longer file", breakOff(content, half), answer(200, content+"x"), "server says it sends 300001 bytes, want 300000"},
		{"wrong bytes", answer(200, "x"+content[1:]), nil, "file has digest sha256:"},
		{"wrong half", breakOff(content, half), answer(206, strings.Repeat("x", len(content)-half), "Content-Range", rest), "file has digest sha256:"},
		{"web page", answer(200, "<html>", "Content-Type", "text/html"), nil, "sends a web page"},
		{"gone", answer(404, ""), nil, "says 404 Not Found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRegistry(t)
			ref := set.push(t, r).Reference
			r.misbehave(inOrder(kernel, test.first, test.second))
			got, err := readStream(t.Context(), newSource(t, newClient(), ref, Want{}), kernel)
			if test.want == "" {
				if err != nil || got != content {
					t.Errorf("got %d bytes, error %v, want %d", len(got), err, len(content))
				}
				return
			}
			checkError(t, err, test.want)
			checkError(t, err, fmt.Sprintf("pull %q: get %s (sha256:%s): ", ref, kernel.Name, kernel.SHA256))
		})
	}
}

// TestStreamOfMirrors goes on at the origin where the mirror ends.
func TestStreamOfMirrors(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	set.push(t, mirror)
	ref := set.push(t, origin).Reference
	origin.misbehave(nil)
	broken := breakOff(content, len(content)/2)
	mirror.misbehave(inOrder(kernel, broken, broken))
	client := newClient()
	client.Mirrors = []string{mirror.host}
	got, err := readStream(t.Context(), newSource(t, client, ref, Want{}), kernel)
	if err != nil || got != content {
		t.Errorf("got %d bytes, error %v, want %d", len(got), err, len(content))
	}
	if got := origin.count(fmt.Sprintf("%s bytes=%d-", kernel.SHA256, len(content)/2)); got != 1 {
		t.Errorf("%d requests for the rest, want 1: %q", got, origin.requests)
	}
}

// TestLyingMirror checks that a mirror that lied about a file is not asked for the
// next one, and again when it may be well.
func TestLyingMirror(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	set.push(t, mirror)
	ref := set.push(t, origin).Reference
	origin.misbehave(nil)
	mirror.misbehave(inOrder(kernel, answer(200, strings.Repeat("x", int(kernel.Size)))))
	client, clock := newClient(), newClock()
	client.Mirrors, client.clock = []string{mirror.host}, clock
	s := newSource(t, client, ref, Want{})
	_, err := readStream(t.Context(), s, kernel)
	checkError(t, err, mirror.host+"/kindling/set: file has digest sha256:")
	for i, test := range []struct {
		later            time.Duration
		mirrored, origin int // requests so far
	}{{0, 1, 1}, {brokenTime - 1, 1, 2}, {1, 2, 2}} {
		clock.advance(test.later)
		if got, err := readStream(t.Context(), s, kernel); err != nil || got != set.content[kernel.Name] {
			t.Errorf("read %d: got %d bytes, error %v", i, len(got), err)
		}
		if got := mirror.count(kernel.SHA256); got != test.mirrored {
			t.Errorf("read %d: %d requests to the mirror, want %d", i, got, test.mirrored)
		}
		if got := origin.count(kernel.SHA256); got != test.origin {
			t.Errorf("read %d: %d requests to the origin, want %d", i, got, test.origin)
		}
	}
	if got := origin.count("GET /v2/") - origin.count("GET /v2/kindling"); got != 1 {
		t.Errorf("%d handshakes with the origin, want 1", got)
	}
}

func TestStreamClosed(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	s := newSource(t, newClient(), set.push(t, r).Reference, Want{})
	kernel := set.file(t, bundle.Kernel)
	body, err := s.Open(t.Context(), "", kernel)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := body.Read(make([]byte, 10)); err != io.ErrClosedPipe {
		t.Errorf("got error %v, want %v", err, io.ErrClosedPipe)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := readStream(ctx, s, kernel); !errors.Is(err, enough) {
		t.Errorf("got error %v, want %v", err, enough)
	}
}
