package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"

	"github.com/kindling-vm/kindling/system/bundle"
)

// download is the state of one file, over all attempts at all sources.
type download struct {
	want     bundle.File
	part     *os.File
	hash     hash.Hash
	have     int64 // bytes in part and hash
	mixed    bool  // they came by more than one answer
	progress func(done int64)
}

// resume takes what an earlier pull left.
func (d *download) resume() error {
	d.hash = sha256.New()
	size, err := io.Copy(d.hash, d.part)
	if err != nil {
		return err
	}
	d.have, d.mixed = size, size > 0
	if d.have > d.want.Size {
		return d.discard()
	}
	return nil
}

func (d *download) discard() error {
	d.have, d.mixed = 0, false
	d.hash.Reset()
	if err := d.part.Truncate(0); err != nil {
		return localError{err}
	}
	if _, err := d.part.Seek(0, io.SeekStart); err != nil {
		return localError{err}
	}
	return nil
}

// attempt sends one request and reads its answer. What it has read stays for the
// next one.
func (d *download) attempt(ctx context.Context, s *source, guard *stallGuard) (have int64, err error) {
	if d.have == d.want.Size {
		return d.have, d.check()
	}
	header := http.Header{"Accept": {"*/*"}}
	if d.have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.have, d.want.Size-1))
	}
	response, err := s.get(ctx, "blobs/sha256:"+d.want.SHA256, header)
	if err != nil {
		return d.have, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if err := d.accept(response); err != nil {
		return d.have, err
	}
	if err := d.receive(response.Body, guard); err != nil {
		return d.have, err
	}
	return d.have, d.check()
}

// accept checks the head of an answer.
func (d *download) accept(response *http.Response) error {
	asked := d.have > 0
	switch {
	case response.StatusCode == http.StatusOK:
		// The server does not know ranges.
		if err := d.discard(); err != nil {
			return err
		}
	case response.StatusCode == http.StatusPartialContent && asked:
		got := response.Header.Get("Content-Range")
		if want := fmt.Sprintf("bytes %d-%d/%d", d.have, d.want.Size-1, d.want.Size); got != want {
			return errors.Join(fmt.Errorf("got a part with Content-Range %.100q, want %q", got, want), d.discard())
		}
		d.mixed = true
	case response.StatusCode == http.StatusPartialContent:
		return permanentError{errors.New("got a part of the file (206 Partial Content), want the whole")}
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && asked:
		return errors.Join(fmt.Errorf("asked for the bytes from %d: 416 Requested Range Not Satisfiable", d.have), d.discard())
	default:
		return newStatusError(response)
	}
	if length := response.ContentLength; length >= 0 && length != d.want.Size-d.have {
		return permanentError{fmt.Errorf("server says it sends %d bytes, want %d", length, d.want.Size-d.have)}
	}
	return nil
}

// receive reads an answer to its end.
func (d *download) receive(body io.Reader, guard *stallGuard) error {
	buffer := make([]byte, 128<<10)
	for {
		n, readErr := body.Read(buffer)
		guard.count.Add(int64(n))
		if d.have+int64(n) > d.want.Size {
			return errors.Join(permanentError{fmt.Errorf("server sends more than the %d bytes of the file", d.want.Size)}, d.discard())
		}
		if _, err := d.part.Write(buffer[:n]); err != nil {
			return localError{err}
		}
		d.hash.Write(buffer[:n])
		d.have += int64(n)
		d.progress(d.have)
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return fmt.Errorf("read after %d of %d bytes: %w", d.have, d.want.Size, readErr)
		}
	}
	if d.have != d.want.Size {
		return fmt.Errorf("got %d of %d bytes: %w", d.have, d.want.Size, io.ErrUnexpectedEOF)
	}
	return nil
}

// check checks the whole file. If it came in parts, any of them may be the wrong
// one, and all of it is worth another attempt.
func (d *download) check() error {
	got := hex.EncodeToString(d.hash.Sum(nil))
	if got == d.want.SHA256 {
		return nil
	}
	err := fmt.Errorf("file has digest sha256:%s (%d bytes), want sha256:%s", got, d.have, d.want.SHA256)
	if !d.mixed {
		err = permanentError{err}
	}
	return errors.Join(err, d.discard())
}
