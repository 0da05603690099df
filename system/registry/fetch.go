package registry

import (
	"context"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/system/bundle"
)

// Source is a repository, or one set in it, as what package system installs from:
// it fulfills the interface of that name.
type Source struct {
	client  *Client
	ref     string
	want    Want
	sources []*source // of all calls, so that they log in once
}

// Source gives what Pull would pull as a Source. Want.Arches must be empty, since
// whoever installs chooses the files.
func (c *Client) Source(ref string, want Want) (*Source, error) {
	if len(want.Arches) > 0 {
		return nil, fmt.Errorf("open source %q: it is for all architectures, got %q", ref, want.Arches)
	}
	parsed, err := parseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("open source %q: %w", ref, err)
	}
	sources, err := c.sources(parsed.repo)
	if err != nil {
		return nil, fmt.Errorf("open source %q: %w", ref, err)
	}
	return &Source{client: c, ref: ref, want: want, sources: sources}, nil
}

// String is the reference.
func (s *Source) String() string { return s.ref }

// Manifest gives manifest.json of the set that the source is, or, if it is a
// repository, of the set with the ID. What the source's Want says holds as well.
func (s *Source) Manifest(ctx context.Context, id string) ([]byte, error) {
	set, err := s.manifest(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("pull %q: %w", s.ref, err)
	}
	return set.canonical, nil
}

func (s *Source) manifest(ctx context.Context, id string) (*found, error) {
	want := s.want
	if want.SetID == "" {
		want.SetID = id
	}
	if id != "" && want.SetID != id {
		return nil, fmt.Errorf("%w: the source is for %s, want %s", ErrOtherSet, want.SetID, id)
	}
	p, err := s.client.newPuller(s.ref, want.SetID, s.sources)
	if err != nil {
		return nil, err
	}
	set, _, err := p.findWanted(ctx, want)
	return set, err
}

// Open gives the bytes of a file of a set, by its digest alone. They are checked
// while they come: a file with others ends in an error instead of io.EOF. Where a
// connection or a mirror breaks off, another goes on. Whoever stops reading before
// the end must close it.
func (s *Source) Open(ctx context.Context, _ string, file bundle.File) (io.ReadCloser, error) {
	if !isDigest("sha256:" + file.SHA256) {
		return nil, fmt.Errorf("pull %q: get %s: SHA-256 %.100q, want 64 lower-case hexadecimal digits", s.ref, file.Name, file.SHA256)
	}
	p := &puller{Client: s.client, sources: s.sources, clock: s.client.systemClock()}
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	go func() {
		defer cancel()
		err := p.fromAny(ctx, newStreamDownload(file, writer).attempt)
		if err != nil {
			err = fmt.Errorf("pull %q: get %s (sha256:%s): %w", s.ref, file.Name, file.SHA256, err)
		}
		// It gives no error; nil is io.EOF.
		_ = writer.CloseWithError(err)
	}()
	return &stream{reader, cancel}, nil
}

// stream is a file on its way.
type stream struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (s *stream) Close() error {
	s.cancel()
	return s.PipeReader.Close()
}
