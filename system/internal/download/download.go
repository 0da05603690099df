// Package download reads a file from an HTTP server to its end, although
// connections break and stall, and refuses answers that cannot be the file.
//
// It checks lengths only. That the bytes are the right ones is for the caller
// to check.
package download

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxRedirects  = 5
	maxRetryAfter = time.Minute
	maxBackoff    = 5 * time.Second
	// bytesPerSecond is the least that counts as going on.
	bytesPerSecond = 1024
)

// Client gets files.
type Client struct {
	Transport http.RoundTripper // nil: http.DefaultTransport, which uses the proxy of the environment
	Attempts  int               // how often one file is asked for in all
	Stall     time.Duration     // an answer that sends less than 1 KiB/s so long is given up
	Backoff   time.Duration     // the first wait before asking again; it doubles
}

// permanent is an error that asking again does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func never(format string, args ...any) error { return permanent{fmt.Errorf(format, args...)} }

// later is an error of a server that says when to ask again.
type later struct {
	error
	wait time.Duration
}

func (l later) Unwrap() error { return l.error }

// Get reads a file. Where size is not -1 the file must have that many bytes.
// Errors name the URL without its query and password. What is wrong with the
// first answer is an error of Get, all else of Read.
func (c *Client) Get(ctx context.Context, address *url.URL, size int64) (io.ReadCloser, error) {
	r := &reader{client: c, ctx: ctx, address: address, size: size}
	if err := r.connect(); err != nil {
		return nil, r.named(err)
	}
	return r, nil
}

// reader goes on where the last connection ended.
type reader struct {
	client   *Client
	ctx      context.Context
	address  *url.URL
	size     int64 // -1: unknown
	offset   int64 // of the next byte for the caller
	etag     string
	attempts int
	answer   *answer // nil between two connections
}

// answer is one connection's body and its clock.
type answer struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	ctx    context.Context
	spent  time.Duration // of waiting for the last bytes
	bytes  int64
}

func (r *reader) named(err error) error {
	shown := *r.address
	shown.RawQuery, shown.Fragment = "", ""
	return fmt.Errorf("get %s: %w", shown.Redacted(), err)
}

// connect asks for what is missing until it gets an answer.
func (r *reader) connect() error {
	for {
		r.attempts++
		err := r.ask()
		if err == nil {
			return nil
		}
		if err := r.again(err); err != nil {
			return err
		}
	}
}

// again waits before the next attempt, or gives the error if there is none.
func (r *reader) again(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if _, ok := errors.AsType[permanent](err); ok {
		return err
	}
	if r.attempts >= r.client.Attempts {
		return fmt.Errorf("%w (asked %d times)", err, r.attempts)
	}
	wait := min(r.client.Backoff<<(r.attempts-1), maxBackoff)
	if l, ok := errors.AsType[later](err); ok {
		if l.wait > maxRetryAfter {
			return fmt.Errorf("%w, ask again in %s", err, l.wait)
		}
		wait = l.wait
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-timer.C:
		return nil
	}
}

func (r *reader) ask() (err error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	a := &answer{ctx: ctx, cancel: cancel}
	defer func() {
		if err != nil {
			err = a.cause(err)
			cancel(nil)
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.address.String(), nil)
	if err != nil {
		return permanent{err}
	}
	// Else the transport asks for gzip and hides that it got it.
	request.Header.Set("Accept-Encoding", "identity")
	if r.offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
		if r.etag != "" {
			request.Header.Set("If-Range", r.etag)
		}
	}
	client := &http.Client{Transport: r.client.Transport, CheckRedirect: checkRedirect}
	watch := a.watch(r.client.Stall)
	response, err := client.Do(request)
	watch.Stop()
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			err = permanent{err}
		}
		return err
	}
	a.body = response.Body
	if err := r.check(response); err != nil {
		return errors.Join(err, response.Body.Close())
	}
	r.answer = a
	if r.offset > 0 && response.StatusCode == http.StatusOK {
		if err := r.skip(); err != nil {
			r.answer = nil
			return errors.Join(err, response.Body.Close())
		}
	}
	return nil
}

// skip reads again what the caller has already: the server sent the whole file.
func (r *reader) skip() error {
	data := make([]byte, 64<<10)
	for left := r.offset; left > 0; {
		n, err := r.answer.read(data[:min(left, int64(len(data)))], r.client.Stall)
		left -= int64(n)
		if err == io.EOF {
			return never("the server sent %d bytes, it sent more before", r.offset-left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch to := request.URL; {
	case len(via) > maxRedirects:
		return never("it redirects more than %d times", maxRedirects)
	case to.Scheme != "http" && to.Scheme != "https":
		return never("it redirects to %s:, which is no web server", to.Scheme)
	case from.Scheme == "https" && to.Scheme != "https":
		return never("it redirects from https to http")
	}
	return nil
}

// check refuses an answer that is not the missing part of the file.
func (r *reader) check(response *http.Response) error {
	if err := checkStatus(response); err != nil {
		return err
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return never("the server sent it with Content-Encoding %s, which nobody asked for", encoding)
	}
	if kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";"); strings.EqualFold(strings.TrimSpace(kind), "text/html") {
		return never("the server sent a web page")
	}
	length := response.ContentLength
	switch response.StatusCode {
	case http.StatusOK:
		if r.size >= 0 && length >= 0 && length != r.size {
			return never("the server sends %d bytes, want %d", length, r.size)
		}
	case http.StatusPartialContent:
		got, want := response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.offset)
		if r.offset == 0 || !strings.HasPrefix(got, want) {
			return never("the server sent the part %q, want all from byte %d", got, r.offset)
		}
		if _, total, _ := strings.Cut(got, "/"); r.size >= 0 && total != "*" && total != strconv.FormatInt(r.size, 10) {
			return never("the server sent a part of %s bytes, want one of %d", total, r.size)
		}
	default:
		return never("the server answered %s", response.Status)
	}
	if etag := response.Header.Get("ETag"); r.offset == 0 && !strings.HasPrefix(etag, "W/") {
		r.etag = etag
	}
	return nil
}

func checkStatus(response *http.Response) error {
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		err := fmt.Errorf("the server answered %s", response.Status)
		if wait, ok := retryAfter(response.Header.Get("Retry-After")); ok {
			return later{err, wait}
		}
		return err
	case status >= 500 || status == http.StatusRequestTimeout:
		return fmt.Errorf("the server answered %s", response.Status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return never("the server answered %s: it wants credentials", response.Status)
	case status == http.StatusProxyAuthRequired:
		return never("the proxy answered %s: it wants credentials", response.Status)
	case status == http.StatusNotFound || status == http.StatusGone:
		return never("the server answered %s: %w", response.Status, fs.ErrNotExist)
	}
	return nil
}

// retryAfter reads the two forms of RFC 9110, 10.2.3.
func retryAfter(text string) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0), true
	}
	return 0, false
}

func (r *reader) Read(data []byte) (int, error) {
	for {
		if r.answer == nil {
			if err := r.connect(); err != nil {
				return 0, r.named(err)
			}
		}
		n, err := r.answer.read(data, r.client.Stall)
		r.offset += int64(n)
		if r.size >= 0 && r.offset > r.size {
			return 0, r.named(fmt.Errorf("the server sent more than %d bytes", r.size))
		}
		if err == nil || n > 0 && err == io.EOF {
			return n, nil
		}
		if err == io.EOF {
			if r.size < 0 || r.offset == r.size {
				return 0, io.EOF
			}
			err = fmt.Errorf("the server sent %d bytes, want %d", r.offset, r.size)
		}
		err = errors.Join(err, r.hangUp())
		if err := r.again(err); err != nil {
			return n, r.named(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (r *reader) hangUp() error {
	if r.answer == nil {
		return nil
	}
	r.answer.cancel(nil)
	err := r.answer.body.Close()
	r.answer = nil
	return err
}

func (r *reader) Close() error { return r.hangUp() }

// errStall is the cause of a connection's end that nothing came on.
type errStall struct{ wait time.Duration }

func (e errStall) Error() string {
	return fmt.Sprintf("the server sent less than %d bytes a second for %s", bytesPerSecond, e.wait)
}

// watch ends the connection unless it is stopped in time.
func (a *answer) watch(stall time.Duration) *time.Timer {
	return time.AfterFunc(stall, func() { a.cancel(errStall{stall}) })
}

// cause tells of a connection that this side ended why it did.
func (a *answer) cause(err error) error {
	if stall, ok := errors.AsType[errStall](context.Cause(a.ctx)); ok {
		return stall
	}
	return err
}

// read counts the time that the server takes, and not that of who reads: disks
// may be slow.
func (a *answer) read(data []byte, stall time.Duration) (int, error) {
	watch := a.watch(stall)
	start := time.Now()
	n, err := a.body.Read(data)
	a.spent += time.Since(start)
	watch.Stop()
	a.bytes += int64(n)
	if err == nil && a.spent >= stall {
		if float64(a.bytes) < stall.Seconds()*bytesPerSecond {
			a.cancel(errStall{stall})
			err = errStall{stall}
		}
		a.spent, a.bytes = 0, 0
	}
	if err != nil && err != io.EOF {
		err = a.cause(err)
	}
	return n, err
}
