package system

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/download"
)

// Source is where artifact sets come from. It is not trusted: what it gives is
// checked against the set's ID. Its methods may be called by many goroutines.
type Source interface {
	// Manifest gives the manifest of the set with an ID, or, where id is empty, of
	// the set that the source has to offer. A source that has but one set may give
	// that: the caller looks whether it is the one.
	Manifest(ctx context.Context, id string) ([]byte, error)
	// Open gives the bytes of a file of a set. Reading ends with an error when ctx
	// ends.
	Open(ctx context.Context, id string, file bundle.File) (io.ReadCloser, error)
	// String names the source in errors.
	String() string
}

const (
	manifestName  = "manifest.json"
	manifestLimit = 1 << 20 // bytes
)

// Dir is the set in a folder, as //system:bundle makes it.
func Dir(folder string) Source { return dirSource(folder) }

type dirSource string

func (s dirSource) String() string { return string(s) }

func (s dirSource) Manifest(ctx context.Context, id string) (data []byte, err error) {
	file, err := s.Open(ctx, id, bundle.File{Name: manifestName})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readManifest(file)
}

func (s dirSource) Open(_ context.Context, _ string, file bundle.File) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(s), filepath.FromSlash(file.Name)))
}

func readManifest(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, manifestLimit+1))
	if err == nil && len(data) > manifestLimit {
		err = fmt.Errorf("read manifest: it has more than %d bytes", manifestLimit)
	}
	return data, err
}

// Tar is the set in an uncompressed tar archive of such a folder, which may be
// below one folder of the archive. Links of the folder must have been followed
// (tar -ch).
func Tar(archive string) Source { return tarSource(archive) }

type tarSource string

func (s tarSource) String() string { return string(s) }

func (s tarSource) Manifest(ctx context.Context, id string) (data []byte, err error) {
	file, err := s.Open(ctx, id, bundle.File{Name: manifestName})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readManifest(file)
}

// entry is a file of an archive: it closes the archive.
type entry struct {
	io.Reader
	io.Closer
}

func (s tarSource) Open(ctx context.Context, _ string, want bundle.File) (_ io.ReadCloser, err error) {
	archive, err := os.Open(string(s))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, archive.Close())
		}
	}()
	reader := tar.NewReader(archive)
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		header, err := reader.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("find %s in the archive: %w", want.Name, fs.ErrNotExist)
		}
		if err != nil {
			return nil, fmt.Errorf("read tar archive: %w", err)
		}
		name := path.Clean(header.Name)
		_, inner, _ := strings.Cut(name, "/")
		if name != want.Name && inner != want.Name {
			continue
		}
		if header.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("read %s in the archive: it is no file; make the archive with tar -ch", want.Name)
		}
		return entry{reader, archive}, nil
	}
}

// HTTPOptions says how an HTTP source asks. The zero value is good.
type HTTPOptions struct {
	Transport http.RoundTripper // nil: http.DefaultTransport, which uses the proxy of the environment
	Attempts  int               // how often one file is asked for in all; 0: 5
	Stall     time.Duration     // an answer that sends less than 1 KiB/s so long is given up; 0: 30 s
}

// HTTP is the set in a folder of a web server, with the files that the folder of
// //system:bundle has. Broken downloads go on where they ended. Over plain http
// only a set whose ID the caller names is taken, but from this machine: nobody
// else vouches for the manifest.
func HTTP(folder string, o HTTPOptions) (Source, error) {
	base, err := url.Parse(folder)
	if err != nil {
		return nil, fmt.Errorf("parse address of artifact set: %w", err)
	}
	if base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("parse address of artifact set: %s: want https://HOST/FOLDER", base.Redacted())
	}
	s := &httpSource{base: base, client: download.Client{
		Transport: o.Transport, Attempts: o.Attempts, Stall: o.Stall, Backoff: 200 * time.Millisecond,
	}}
	if s.client.Attempts == 0 {
		s.client.Attempts = 5
	}
	if s.client.Stall == 0 {
		s.client.Stall = 30 * time.Second
	}
	return s, nil
}

type httpSource struct {
	base   *url.URL
	client download.Client
}

func (s *httpSource) String() string { return s.base.Redacted() }

func (s *httpSource) Manifest(ctx context.Context, id string) (data []byte, err error) {
	if s.base.Scheme == "http" && id == "" && !isThisMachine(s.base.Hostname()) {
		return nil, errors.New("nobody vouches for a manifest over plain http: name the set's ID, or use https")
	}
	body, err := s.client.Get(ctx, s.base.JoinPath(manifestName), -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return readManifest(body)
}

func isThisMachine(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func (s *httpSource) Open(ctx context.Context, _ string, file bundle.File) (io.ReadCloser, error) {
	var parts []string
	for part := range strings.SplitSeq(file.Name, "/") {
		parts = append(parts, url.PathEscape(part))
	}
	return s.client.Get(ctx, s.base.JoinPath(parts...), file.Size)
}
