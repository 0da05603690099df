package fstree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// hostFile is a file of the host that has contents of the tree.
type hostFile struct {
	files   *hostFiles
	name    string
	size    int64
	modTime time.Time
}

// hostFiles opens them, one at a time: a tree may have more than a process may
// have open. Who reads a tree in order opens each once.
type hostFiles struct {
	mu   sync.Mutex
	of   *hostFile
	open *os.File // nil without of
}

func newHostFile(files *hostFiles, name string) (*hostFile, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return &hostFile{files, name, info.Size(), info.ModTime()}, nil
}

func (h *hostFile) ReadAt(p []byte, offset int64) (int, error) {
	h.files.mu.Lock()
	defer h.files.mu.Unlock()
	if h.files.of != h {
		if err := h.files.change(h); err != nil {
			return 0, err
		}
	}
	n, err := h.files.open.ReadAt(p, offset)
	if err == io.EOF && offset+int64(n) < h.size {
		err = fmt.Errorf("file %s became shorter: %w", h.name, io.ErrUnexpectedEOF)
	}
	return n, err
}

// change opens h in place of the file that is open.
func (f *hostFiles) change(h *hostFile) error {
	if err := f.close(); err != nil {
		return err
	}
	file, err := os.Open(h.name)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && (info.Size() != h.size || !info.ModTime().Equal(h.modTime)) {
		err = fmt.Errorf("file %s changed while it was in use", h.name)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.of, f.open = h, file
	return nil
}

func (f *hostFiles) close() error {
	if f.of == nil {
		return nil
	}
	f.of = nil
	return f.open.Close()
}

// tarFileBuffer is in bytes: headers and what small files are skipped with them.
const tarFileBuffer = 4 << 10

// tarFile reads the headers of a tar, and tells where contents are.
type tarFile struct {
	t        *Tree
	file     *hostFile
	content  *io.SectionReader
	buffered *bufio.Reader // in front of content
	offset   int64         // of what Read gives next
}

func (f *tarFile) Read(p []byte) (int, error) {
	n, err := f.buffered.Read(p)
	f.offset += int64(n)
	if err := f.t.countBytes(int64(n)); err != nil {
		return 0, err
	}
	return n, err
}

// Seek is what archive/tar skips contents with. It goes forward from where it is
// and no way else.
func (f *tarFile) Seek(skip int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || skip < 0 {
		return 0, errors.ErrUnsupported
	}
	if skip > f.file.size-f.offset {
		return 0, io.ErrUnexpectedEOF
	}
	if err := f.t.countBytes(skip); err != nil {
		return 0, err
	}
	if skip <= int64(f.buffered.Buffered()) {
		if _, err := f.buffered.Discard(int(skip)); err != nil {
			return 0, err
		}
	} else {
		if _, err := f.content.Seek(f.offset+skip, io.SeekStart); err != nil {
			return 0, err
		}
		f.buffered.Reset(f.content)
	}
	f.offset += skip
	return f.offset, nil
}

// take gives an inode the content that starts here.
func (f *tarFile) take(inode *Inode, _ io.Reader, size int64) error {
	if err := f.t.Limits.checkSize(size); err != nil {
		return err
	}
	if size > f.file.size-f.offset {
		return fmt.Errorf("find content: %w", io.ErrUnexpectedEOF)
	}
	inode.content, inode.offset, inode.Size = f.file, f.offset, size
	return nil
}
