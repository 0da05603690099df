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
	out      io.Writer
	part     *os.File // out, if it can be emptied; nil if what was written is gone
	hash     hash.Hash
	have     int64 // bytes in out and hash
	mixed    bool  // they came by more than one answer
	skip     int64 // bytes of the answer that are there already
	progress func(done int64)
}

// newFileDownload goes on with what an earlier pull left.
func newFileDownload(want bundle.File, part *os.File, progress func(done int64)) (*download, error) {
	d := &download{want: want, out: part, part: part, hash: sha256.New(), progress: progress}
	return d, d.resume()
}

// newStreamDownload passes on what comes, and cannot go back.
func newStreamDownload(want bundle.File, out io.Writer) *download {
	return &download{want: want, out: out, hash: sha256.New(), progress: func(int64) {}}
}

func (d *download) resume() error {
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

// discard starts again, where that is possible.
func (d *download) discard() error {
	if d.part == nil {
		return nil
	}
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
		return d.have, d.check(s)
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
	return d.have, d.check(s)
}

// accept checks the head of an answer.
func (d *download) accept(response *http.Response) error {
	asked := d.have > 0
	d.skip = 0
	switch {
	case response.StatusCode == http.StatusOK:
		// The server does not know ranges.
		if err := d.discard(); err != nil {
			return err
		}
		d.skip = d.have
	case response.StatusCode == http.StatusPartialContent && asked:
		got := response.Header.Get("Content-Range")
		if want := fmt.Sprintf("bytes %d-%d/%d", d.have, d.want.Size-1, d.want.Size); got != want {
			return errors.Join(fmt.Errorf("got a part with Content-Range %.100q, want %q", got, want), d.discard())
		}
		d.mixed = true
	case response.StatusCode == http.StatusPartialContent:
		return permanentError{errors.New("got a part of the file (206 Partial Content), want the whole")}
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && asked:
		err := fmt.Errorf("asked for the bytes from %d: 416 Requested Range Not Satisfiable", d.have)
		return errors.Join(err, d.discard())
	default:
		return newStatusError(response)
	}
	if length, want := response.ContentLength, d.want.Size-d.have+d.skip; length >= 0 && length != want {
		return permanentError{fmt.Errorf("server says it sends %d bytes, want %d", length, want)}
	}
	return nil
}

// receive reads an answer to its end.
func (d *download) receive(body io.Reader, guard *stallGuard) error {
	buffer := make([]byte, 128<<10)
	for {
		n, readErr := body.Read(buffer)
		guard.count.Add(int64(n))
		known := min(d.skip, int64(n))
		d.skip -= known
		fresh := buffer[known:n]
		if d.have+int64(len(fresh)) > d.want.Size {
			return errors.Join(permanentError{fmt.Errorf("server sends more than the %d bytes of the file", d.want.Size)}, d.discard())
		}
		if _, err := d.out.Write(fresh); err != nil {
			return localError{err}
		}
		d.hash.Write(fresh)
		d.have += int64(len(fresh))
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
func (d *download) check(s *source) error {
	got := hex.EncodeToString(d.hash.Sum(nil))
	if got == d.want.SHA256 {
		return nil
	}
	err := fmt.Errorf("file has digest sha256:%s (%d bytes), want sha256:%s", got, d.have, d.want.SHA256)
	if d.part == nil {
		// The next one to ask shall do better.
		s.setBroken()
		return localError{fmt.Errorf("%s: %w", s.repo, err)}
	}
	if !d.mixed {
		err = permanentError{err}
	}
	return errors.Join(err, d.discard())
}
