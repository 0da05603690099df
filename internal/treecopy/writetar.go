package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is how much of a file is held at once, in bytes.
	bufferSize = 64 << 10
	// maxUnsized bounds a file whose size is told as 0, as /proc has them: a tar
	// stream needs the size first.
	maxUnsized = 1 << 20
)

// xattrRecord starts the names of PAX records with extended attributes.
const xattrRecord = "SCHILY.xattr."

// WriteOptions says how WriteTar writes.
type WriteOptions struct {
	// Name is what the source is called in the stream. "." makes the names below
	// a directory those of the stream.
	Name string
	// FollowLink reads what the source points to if it is a symbolic link. Links
	// below it stay links.
	FollowLink bool
	// Progress, if not nil, is called with the bytes of content so far.
	Progress func(bytes int64)
}

// WriteSummary is what WriteTar wrote.
type WriteSummary struct {
	Entries int64
	Bytes   int64 // of file content
	// Skipped has the paths of sockets, and of what went away meanwhile, of up to
	// 64 KiB in all, and then one that tells how many more.
	Skipped []string
}

// maxSkipped bounds WriteSummary.Skipped, in bytes.
const maxSkipped = 64 << 10

// WriteTar writes a file or a tree as a tar stream in the PAX format, with hard
// links, special bits, nanoseconds and those extended attributes that mean
// something elsewhere: user.*, security.capability and POSIX ACLs. Holes are
// written as zeros. A file that shrinks meanwhile is an error; of one that grows
// the first part is taken.
func WriteTar(ctx context.Context, w io.Writer, source string, o WriteOptions) (WriteSummary, error) {
	t := &tarWriter{ctx: ctx, o: o, out: tar.NewWriter(w), links: map[inode]string{}, buf: make([]byte, bufferSize)}
	follow := FollowNone
	if o.FollowLink {
		follow = FollowSource
	}
	if err := Walk(ctx, source, follow, t.visit); err != nil {
		return t.summary, err
	}
	if t.more > 0 {
		t.summary.Skipped = append(t.summary.Skipped, fmt.Sprintf("and %d more", t.more))
	}
	if err := t.out.Close(); err != nil {
		return t.summary, fmt.Errorf("end tar stream: %w", err)
	}
	return t.summary, nil
}

type inode struct{ dev, ino uint64 }

type tarWriter struct {
	ctx     context.Context
	o       WriteOptions
	out     *tar.Writer
	links   map[inode]string // names of files with more links, some still to come
	buf     []byte
	summary WriteSummary
	skipped int // bytes of summary.Skipped
	more    int // entries that it has no place for
}

func (t *tarWriter) visit(e *Entry, err error) error {
	if err == nil {
		err = t.write(e)
	}
	// The source itself must be there.
	if e.Name != "." && errors.Is(err, fs.ErrNotExist) {
		t.skip(e)
		return nil
	}
	return err
}

func (t *tarWriter) skip(e *Entry) {
	if n := len(t.summary.Skipped); n > 0 && t.summary.Skipped[n-1] == e.Path {
		return // a directory is looked at twice
	}
	if t.skipped += len(e.Path); t.skipped > maxSkipped {
		t.more++
		return
	}
	t.summary.Skipped = append(t.summary.Skipped, e.Path)
}

func (t *tarWriter) write(e *Entry) error {
	name := path.Join(t.o.Name, e.Name)
	switch e.Stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return t.writeFile(e, name)
	case unix.S_IFSOCK:
		t.skip(e)
		return nil
	}
	h := header(e, name)
	var err error
	switch e.Stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		err = setXattrs(h, e.directoryXattrs)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = e.ReadLink()
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if e.Stat.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(e.Stat.Rdev)), int64(unix.Minor(e.Stat.Rdev))
	default:
		err = fmt.Errorf("%s is a %s", e.Path, TypeName(e.Stat.Mode))
	}
	if err != nil {
		return err
	}
	return t.writeHeader(e, h)
}

func header(e *Entry, name string) *tar.Header {
	return &tar.Header{
		Format:  tar.FormatPAX,
		Name:    name,
		Mode:    int64(e.Stat.Mode & modeBits),
		Uid:     int(e.Stat.Uid),
		Gid:     int(e.Stat.Gid),
		ModTime: time.Unix(e.Stat.Mtim.Unix()),
	}
}

func setXattrs(h *tar.Header, read func() (map[string]string, error)) error {
	xattrs, err := read()
	if err != nil || len(xattrs) == 0 {
		return err
	}
	h.PAXRecords = map[string]string{}
	for name, value := range xattrs {
		h.PAXRecords[xattrRecord+name] = value
	}
	return nil
}

func (t *tarWriter) writeHeader(e *Entry, h *tar.Header) error {
	if err := t.out.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s to tar stream: %w", e.Path, err)
	}
	t.summary.Entries++
	return nil
}

func (t *tarWriter) writeFile(e *Entry, name string) (err error) {
	id := inode{e.Stat.Dev, e.Stat.Ino}
	if first, found := t.links[id]; found {
		h := header(e, name)
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return t.writeHeader(e, h)
	}
	file, err := e.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := header(e, name)
	h.Typeflag, h.Size = tar.TypeReg, e.Stat.Size
	xattrs := func() (map[string]string, error) { return readXattrs(file.fd, isPortable) }
	if err := setXattrs(h, xattrs); err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	content := io.Reader(io.LimitReader(file, h.Size))
	if h.Size <= bufferSize {
		// Files of /proc and /sys tell no size, or one that is too large.
		small, err := t.readSmall(file, h.Size)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Path, err)
		}
		h.Size, content = int64(small.Len()), small
	}
	if err := t.writeHeader(e, h); err != nil {
		return err
	}
	if e.Stat.Nlink > 1 {
		t.links[id] = name
	}
	return t.copy(e, h.Size, content)
}

// readSmall reads a file of up to bufferSize, or, if its size is said to be 0,
// what it has nevertheless.
func (t *tarWriter) readSmall(file io.Reader, size int64) (*bytes.Reader, error) {
	if size > 0 {
		n, err := io.ReadFull(file, t.buf[:size])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		return bytes.NewReader(t.buf[:n]), nil
	}
	content, err := io.ReadAll(io.LimitReader(file, maxUnsized+1))
	if err == nil && len(content) > maxUnsized {
		err = fmt.Errorf("its size is told as 0 but it has more than %d bytes", maxUnsized)
	}
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(content), nil
}

func (t *tarWriter) copy(e *Entry, size int64, content io.Reader) error {
	for left := size; left > 0; {
		if err := context.Cause(t.ctx); err != nil {
			return err
		}
		n, err := content.Read(t.buf)
		if _, err := t.out.Write(t.buf[:n]); err != nil {
			return fmt.Errorf("write %s to tar stream: %w", e.Path, err)
		}
		left -= int64(n)
		t.summary.Bytes += int64(n)
		if t.o.Progress != nil && n > 0 {
			t.o.Progress(t.summary.Bytes)
		}
		if err == io.EOF && left > 0 {
			err = fmt.Errorf("read %s: it has shrunk by %d bytes", e.Path, left)
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}
