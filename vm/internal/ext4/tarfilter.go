package ext4

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Bounds of what the converter (hcsshim v0.15.0, ext4/internal/compactext4)
// stores rightly. Beyond them it writes something else without an error.
const (
	// maxFileSize keeps a file's extents in one extent block. The converter
	// miscounts them from 340 extents of 128 MiB on (writeExtents).
	maxFileSize = 32 << 30
	// maxTime: it sets no epoch bits, so that Linux would read the time as
	// one before 1970 (ext4_decode_extra_time).
	maxTime = math.MaxInt32
	// maxSymlink is one block less the NUL that Linux puts behind a target.
	maxSymlink = blockSize - 1
	// maxMajor and maxMinor are new_encode_dev's 12 and 20 bits.
	maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1
)

// tarFilter reads a tar stream and gives it on entry by entry. An entry that
// ext4 or the converter cannot hold as it is, is an error that names it, but:
//   - modification times are clamped to 1970 to 2038, as Linux clamps times to
//     a file system's range (timestamp_truncate);
//   - access and change times are left out and become 1970;
//   - extended attributes are changed as convertXattrs says.
type tarFilter struct {
	in      *tar.Reader
	content []byte // what is read of a file at once
	out     *tar.Writer
	buf     bytes.Buffer // where out writes
	err     error        // behind what is in buf
}

func newTarFilter(r io.Reader) *tarFilter {
	t := &tarFilter{
		in:      tar.NewReader(bufio.NewReaderSize(r, 256<<10)),
		content: make([]byte, 64<<10),
	}
	t.out = tar.NewWriter(&t.buf)
	return t
}

func (t *tarFilter) Read(p []byte) (int, error) {
	for t.buf.Len() == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.err = t.fill()
	}
	return t.buf.Read(p)
}

// fill puts the next part of the stream into buf: content, else a header, else
// the trailer.
func (t *tarFilter) fill() error {
	n, err := t.in.Read(t.content)
	if n > 0 {
		if _, err := t.out.Write(t.content[:n]); err != nil {
			return err
		}
	}
	if err == nil || !errors.Is(err, io.EOF) {
		return err
	}
	header, err := t.in.Next()
	if errors.Is(err, io.EOF) {
		if err := t.out.Close(); err != nil {
			return err
		}
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("read tar: %w", err)
	}
	xattrs, err := convertXattrs(header.PAXRecords)
	if err == nil {
		err = check(header)
	}
	if err != nil {
		return fmt.Errorf("store %q: %w", header.Name, err)
	}
	return t.out.WriteHeader(&tar.Header{
		Format:   tar.FormatPAX,
		Typeflag: header.Typeflag,
		Name:     header.Name,
		Linkname: header.Linkname,
		Size:     header.Size,
		Mode:     header.Mode,
		Uid:      header.Uid, Gid: header.Gid,
		ModTime:  clampTime(header.ModTime),
		Devmajor: header.Devmajor, Devminor: header.Devminor,
		PAXRecords: xattrs,
	})
}

func clampTime(at time.Time) time.Time {
	switch s := at.Unix(); {
	case s < 0:
		return time.Unix(0, 0)
	case s > maxTime:
		return time.Unix(maxTime, 0)
	}
	return at
}

func check(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size > maxFileSize {
			return fmt.Errorf("size %d, want at most %d", h.Size, int64(maxFileSize))
		}
	case tar.TypeSymlink:
		if n := len(h.Linkname); n == 0 || n > maxSymlink {
			return fmt.Errorf("symbolic link target of %d bytes, want 1 to %d", n, maxSymlink)
		}
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return fmt.Errorf("device number %d:%d, want at most %d:%d", h.Devmajor, h.Devminor, maxMajor, maxMinor)
		}
	case tar.TypeDir, tar.TypeFifo, tar.TypeLink:
	default:
		return fmt.Errorf("tar entry of type %q", h.Typeflag)
	}
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || int64(id) > math.MaxUint32 {
			return fmt.Errorf("owner %d:%d, want 32-bit numbers", h.Uid, h.Gid)
		}
	}
	return nil
}
