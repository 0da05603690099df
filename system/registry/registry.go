// Package registry pushes artifact sets to OCI registries and pulls them into
// folders, as package system and //system:bundle have them.
//
// It keeps no store and trusts no registry: a set is pulled by a digest, by its ID
// or by a signature, and every byte is checked while it comes.
package registry

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Client pushes and pulls. The zero value is ready, and safe for concurrent use
// unless its fields change.
type Client struct {
	// Mirrors are asked before the reference's own registry, in their order: each
	// is HOST or HOST/PREFIX, below which the repository has the same name. They
	// need no trust, and are not pushed to.
	Mirrors []string
	// Keychain has the credentials; nil is authn.DefaultKeychain, which knows what
	// docker login, crane auth login and podman login leave.
	Keychain authn.Keychain
	// Transport is what requests go through; nil is remote.DefaultTransport, which
	// takes a proxy from the environment.
	Transport http.RoundTripper
	// Progress, if there is one, is told of what has been moved, never by two
	// goroutines at once. It must return soon.
	Progress func(Progress)

	clock clock // nil is the system's
}

// Progress is how far one file is.
type Progress struct {
	File  string // its name in the set
	Done  int64  // bytes, of which some may have been there before
	Total int64  // bytes
}

// Artifact is a set in a registry.
type Artifact struct {
	Reference string // REPOSITORY@sha256:HEX, its index
	SetID     string // sha256:HEX
}

func (c *Client) keychain() authn.Keychain {
	if c.Keychain == nil {
		return authn.DefaultKeychain
	}
	return c.Keychain
}

func (c *Client) transport() http.RoundTripper {
	if c.Transport == nil {
		return remote.DefaultTransport
	}
	return c.Transport
}

func (c *Client) systemClock() clock {
	if c.clock == nil {
		return realClock{}
	}
	return c.clock
}

// clock is the time as transfers need it.
type clock interface {
	Now() time.Time
	// Sleep ends early with the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reference is a reference taken apart.
type reference struct {
	text   string // as the user gave it
	repo   name.Repository
	tag    string // "" for none
	digest string // sha256:HEX, or "" for none
}

// identifier is what the registry is asked for. A tag beside a digest is a remark.
func (r *reference) identifier() string {
	if r.digest != "" {
		return r.digest
	}
	return r.tag
}

// parseReference reads REPOSITORY[:TAG][@sha256:HEX].
func parseReference(text string) (*reference, error) {
	base, digest, pinned := strings.Cut(text, "@")
	tag, err := name.NewTag(base, name.WithDefaultTag(""))
	if err != nil {
		return nil, fmt.Errorf("parse reference: %w", err)
	}
	ref := &reference{text: text, repo: tag.Context(), tag: tag.TagStr()}
	if pinned {
		if !isDigest(digest) {
			return nil, fmt.Errorf("parse reference: digest %q, want sha256: and 64 lower-case hexadecimal digits", digest)
		}
		ref.digest = digest
	}
	return ref, nil
}

// isDigest tells the one form of digests that sets have.
func isDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// mirrored is the repository on a mirror.
func mirrored(mirror string, repo name.Repository) (name.Repository, error) {
	mirror = strings.TrimSuffix(mirror, "/")
	host, _, _ := strings.Cut(mirror, "/")
	if strings.Contains(mirror, "://") || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return name.Repository{}, fmt.Errorf("mirror %q, want HOST or HOST/PREFIX", mirror)
	}
	found, err := name.NewRepository(path.Join(mirror, repo.RepositoryStr()))
	if err != nil {
		return name.Repository{}, fmt.Errorf("mirror %q: %w", mirror, err)
	}
	return found, nil
}
