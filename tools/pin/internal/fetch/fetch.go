// Package fetch downloads a file that nobody has described yet, from a server
// that may break off, be slow, or send something else. It goes on where a
// connection broke, with bytes of the same file only, and gives the digest of
// what came.
//
// It does not know what the bytes should be: its callers do.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"time"
)

// Limits of a download.
const (
	attempts     = 6
	maxRedirects = 10
	// stallTime is how long a server may take to send stallBytes, and to answer
	// at all.
	stallTime  = 30 * time.Second
	stallBytes = 16 << 10
	// maxRetryAfter bounds what a server may ask to wait.
	maxRetryAfter = 2 * time.Minute
)

// Client fetches files, one at a time.
type Client struct {
	// AllowHTTPLoopback allows http from this machine itself.
	AllowHTTPLoopback bool
	Progress          Progress
	Transport         http.RoundTripper // hands on bytes as they come, as that of New
	Clock             Clock
	Jitter            func() float64 // gives numbers from 0 to 1
}

// New gives a client that takes a proxy from the environment, as
// http.ProxyFromEnvironment does.
func New() *Client {
	return &Client{Transport: newTransport(), Clock: systemClock{}, Jitter: rand.Float64}
}

// Request says what to fetch.
type Request struct {
	URL string // https, or what the client and AnyHTTP allow
	// AnyHTTP allows http from any host. It is for what is checked by a digest
	// that came another way.
	AnyHTTP bool
	MaxSize int64 // in bytes
	// Once is for what can be done without: nobody waits to ask again.
	Once bool
}

// Result is what came.
type Result struct {
	SHA256 string // 64 lower-case hexadecimal digits
	Size   int64  // in bytes
}

// Fetch writes a file to dst, which is empty. After an error, what dst has is of
// no use. Errors name the URL, without the user info in it.
func (c *Client) Fetch(ctx context.Context, request Request, dst *os.File) (Result, error) {
	result, err := c.fetch(ctx, request, dst)
	if err != nil {
		return Result{}, fmt.Errorf("fetch %s: %w", Display(request.URL), err)
	}
	return result, nil
}

// Bytes fetches a file into memory.
func (c *Client) Bytes(ctx context.Context, request Request) (data []byte, err error) {
	file, err := os.CreateTemp("", "pin-")
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", Display(request.URL), err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	result, err := c.Fetch(ctx, request, file)
	if err != nil {
		return nil, err
	}
	data = make([]byte, result.Size)
	if _, err := file.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("read what was fetched: %w", err)
	}
	return data, nil
}

func (c *Client) fetch(ctx context.Context, request Request, dst *os.File) (Result, error) {
	if err := c.checkURL(request); err != nil {
		return Result{}, err
	}
	d := &download{client: c, request: request, dst: dst, digest: sha256.New(), total: -1}
	c.Progress.start(c.Clock.Now(), request.URL)
	defer c.Progress.end()
	for attempt := 1; ; attempt++ {
		err := d.attempt(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if _, ok := errors.AsType[permanentError](err); ok || request.Once {
			return Result{}, err
		}
		if attempt == attempts {
			return Result{}, fmt.Errorf("%d attempts: %w", attempt, err)
		}
		wait, err := c.waitBefore(attempt, err)
		if err != nil {
			return Result{}, err
		}
		if err := c.Clock.Sleep(ctx, wait); err != nil {
			return Result{}, err
		}
	}
	if d.resumed {
		if err := d.verify(); err != nil {
			return Result{}, err
		}
	}
	return Result{SHA256: hex.EncodeToString(d.digest.Sum(nil)), Size: d.have}, nil
}

// download is the state of one file.
type download struct {
	client  *Client
	request Request
	dst     *os.File
	digest  hash.Hash
	have    int64 // bytes in dst and digest
	total   int64 // bytes of the whole file, or -1
	// etag is the strong validator of the bytes in dst. Without one, nobody could
	// tell whether the rest is of the same file.
	etag    string
	resumed bool
}

// discard starts anew.
func (d *download) discard() error {
	d.have, d.total, d.etag, d.resumed = 0, -1, "", false
	d.digest.Reset()
	if err := d.dst.Truncate(0); err != nil {
		return permanentError{err}
	}
	if _, err := d.dst.Seek(0, io.SeekStart); err != nil {
		return permanentError{err}
	}
	return nil
}

// verify reads the file that was put together from parts.
func (d *download) verify() error {
	digest := sha256.New()
	n, err := io.Copy(digest, io.NewSectionReader(d.dst, 0, d.total+1))
	if err != nil {
		return fmt.Errorf("read what was fetched: %w", err)
	}
	if n != d.have || string(digest.Sum(nil)) != string(d.digest.Sum(nil)) {
		return fmt.Errorf("%s does not hold the bytes that were written to it", d.dst.Name())
	}
	return nil
}
