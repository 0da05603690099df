package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// attempt sends one request and reads its answer. What it has read stays in the
// download for the next one.
func (d *download) attempt(ctx context.Context) (err error) {
	ctx, guard := guardAgainstStall(ctx, d.client.Clock)
	defer guard.stop()
	defer func() {
		// The transport's own error only says that the context ended.
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
			err = cause
		}
	}()
	response, err := d.send(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if err := d.accept(response); err != nil {
		return err
	}
	body := bufio.NewReaderSize(response.Body, 128<<10)
	if d.have == 0 {
		// A short file ends within them, which reading it tells again.
		first, _ := body.Peek(512)
		if isWebPage(response.Header.Get("Content-Type"), first) {
			return permanentError{fmt.Errorf("got a web page instead of a file (Content-Type %q, first bytes %q)",
				response.Header.Get("Content-Type"), first[:min(len(first), 60)])}
		}
	}
	if err := d.receive(body, guard); err != nil {
		return err
	}
	if d.total >= 0 && d.have != d.total {
		return fmt.Errorf("got %d of %d bytes: %w", d.have, d.total, io.ErrUnexpectedEOF)
	}
	return nil
}

func (d *download) send(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.request.URL, nil)
	if err != nil {
		return nil, permanentError{err}
	}
	// A server that may compress sends other bytes than those that are pinned.
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "kindling-pin")
	if d.have > 0 && d.etag != "" {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
		request.Header.Set("If-Range", d.etag)
	} else if err := d.discard(); err != nil {
		return nil, err
	}
	client := http.Client{Transport: d.client.Transport, CheckRedirect: d.client.checkRedirect}
	response, err := client.Do(request)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return nil, transportError(wrapped.Err) // its URL may be a signed one
	}
	return response, err
}

// accept checks the head of an answer.
func (d *download) accept(response *http.Response) error {
	asked := response.Request.Header.Get("Range") != ""
	switch {
	case response.StatusCode == http.StatusOK:
		// The file has changed, or the server does not know ranges.
		if err := d.discard(); err != nil {
			return err
		}
		d.total = response.ContentLength
		d.etag = strongETag(response)
	case response.StatusCode == http.StatusPartialContent && asked:
		if err := d.checkPart(response); err != nil {
			return errors.Join(err, d.discard())
		}
		d.resumed = true
	case response.StatusCode == http.StatusPartialContent:
		return permanentError{errors.New("got a part of the file (206 Partial Content), want the whole")}
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && asked:
		return errors.Join(fmt.Errorf("asked for the bytes from %d: 416 Requested Range Not Satisfiable", d.have), d.discard())
	default:
		return newStatusError(response)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return permanentError{fmt.Errorf("got the file encoded as %q, want it as it is", encoding)}
	}
	// The end of an HTTP/1 connection looks the same wherever it comes.
	if response.ContentLength < 0 && response.ProtoMajor == 1 && !slices.Contains(response.TransferEncoding, "chunked") {
		return permanentError{errors.New("server does not say how many bytes it sends: a cut file would look whole")}
	}
	if d.total > d.request.MaxSize {
		return permanentError{fmt.Errorf("file has %d bytes, want at most %d", d.total, d.request.MaxSize)}
	}
	return nil
}

// checkPart checks that an answer continues the file. Source: RFC 9110, 14.4 and
// 15.3.7.
func (d *download) checkPart(response *http.Response) error {
	got := response.Header.Get("Content-Range")
	var first, last, total int64
	_, err := fmt.Sscanf(got, "bytes %d-%d/%d", &first, &last, &total)
	if err != nil || got != fmt.Sprintf("bytes %d-%d/%d", first, last, total) ||
		first != d.have || last != total-1 || d.total >= 0 && total != d.total ||
		response.ContentLength >= 0 && response.ContentLength != total-first {
		return fmt.Errorf("asked for the bytes from %d: got a part with Content-Range %q", d.have, got)
	}
	if etag := response.Header.Get("ETag"); etag != "" && etag != d.etag {
		return fmt.Errorf("asked for the bytes from %d of %s: got those of %s", d.have, d.etag, etag)
	}
	d.total = total
	return nil
}

// strongETag is an answer's strong validator, or "". Source: RFC 9110, 8.8.3.
func strongETag(response *http.Response) string {
	etag := response.Header.Get("ETag")
	if len(etag) < 2 || !strings.HasPrefix(etag, `"`) || !strings.HasSuffix(etag, `"`) {
		return ""
	}
	return etag
}

// isWebPage tells the answer of a portal, a proxy or a login page.
func isWebPage(contentType string, first []byte) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == "text/html" || mediaType == "application/xhtml+xml" ||
		strings.HasPrefix(http.DetectContentType(first), "text/html")
}

// receive reads an answer to its end.
func (d *download) receive(body io.Reader, guard *stallGuard) error {
	buffer := make([]byte, 128<<10)
	for {
		n, readErr := body.Read(buffer)
		guard.received(n)
		if d.have+int64(n) > d.request.MaxSize {
			return permanentError{fmt.Errorf("file has more than the %d bytes that are allowed", d.request.MaxSize)}
		}
		if _, err := d.dst.Write(buffer[:n]); err != nil {
			return permanentError{err}
		}
		d.digest.Write(buffer[:n])
		d.have += int64(n)
		d.client.Progress.add(d.client.Clock.Now(), d.have, d.total)
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return fmt.Errorf("read after %d bytes: %w", d.have, readErr)
		}
	}
}
