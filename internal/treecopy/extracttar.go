package treecopy

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxPadding bounds the zeros behind the end of an archive, in bytes: programs
// fill their last record, and that of GNU tar can have 10 MiB and more.
const maxPadding = 64 << 20

// ExtractTar makes what a tar stream describes below a directory that exists.
// It reads the stream to its end. A stream that ends before the archive does, or
// has more than padding behind it, is an error. What was made before an error
// stays, but for the file that was being written.
func ExtractTar(ctx context.Context, dir string, r io.Reader, o ExtractOptions) (_ ExtractSummary, err error) {
	x, err := NewExtractor(dir, o)
	if err != nil {
		return ExtractSummary{}, err
	}
	in := &endReader{r: r}
	err = errors.Join(extractAll(ctx, x, in), x.Close())
	return x.Summary(), err
}

func extractAll(ctx context.Context, x *Extractor, in *endReader) error {
	archive := tar.NewReader(in)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := archive.Next()
		if err == io.EOF && in.ended {
			// It also says so between two entries.
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return in.padding()
		}
		if err != nil {
			return fmt.Errorf("read tar stream: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if err := CheckGlobal(h); err != nil {
				return err
			}
			continue
		}
		if err := x.Put(ctx, h, archive); err != nil {
			return err
		}
	}
}

// CheckGlobal lets global records pass that say nothing about entries, as git
// writes them.
func CheckGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		if key != "comment" {
			return fmt.Errorf("read tar stream: global record %.300q is not supported", key)
		}
	}
	return nil
}

// endReader remembers that somebody has tried to read behind the end.
type endReader struct {
	r     io.Reader
	ended bool
}

func (e *endReader) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err == io.EOF && n > 0 {
		return n, nil // and the end next time
	}
	e.ended = e.ended || err == io.EOF
	return n, err
}

// padding reads what is behind the archive.
func (e *endReader) padding() error {
	buf := make([]byte, blockSize)
	for read := 0; ; {
		n, err := e.r.Read(buf)
		if read += n; !isZero(buf[:n]) || read > maxPadding {
			return errors.New("read tar stream: there is more behind the end of the archive")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar stream: %w", err)
		}
	}
}
