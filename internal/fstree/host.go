package fstree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

// hostFiles opens them, and leaves open the few that were read last: a tree may
// have more than a process may have open. Who reads a tree in order, and a few
// who share it, open each once.
type hostFiles struct {
	mu   sync.Mutex
	open []*openFile // what was read last is the last
}

// keptOpen is how many files stay open.
const keptOpen = 8

type openFile struct {
	*os.File
	of      *hostFile
	readers int // that are in it now; it stays open for them
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

// ReadAt may be called by several goroutines; they do not wait for each other's
// reading.
func (h *hostFile) ReadAt(p []byte, offset int64) (int, error) {
	file, err := h.files.take(h)
	if err != nil {
		return 0, err
	}
	n, err := file.ReadAt(p, offset)
	h.files.release(file)
	if err == io.EOF && offset+int64(n) < h.size {
		err = fmt.Errorf("file %s became shorter: %w", h.name, io.ErrUnexpectedEOF)
	}
	return n, err
}

// take gives the open file of h, until release.
func (f *hostFiles) take(h *hostFile) (*openFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.open, func(file *openFile) bool { return file.of == h })
	if i < 0 {
		if err := f.makeRoom(); err != nil {
			return nil, err
		}
		file, err := h.reopen()
		if err != nil {
			return nil, err
		}
		i = len(f.open)
		f.open = append(f.open, &openFile{File: file, of: h})
	}
	file := f.open[i]
	f.open = append(slices.Delete(f.open, i, i+1), file)
	file.readers++
	return file, nil
}

func (f *hostFiles) release(file *openFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file.readers--
}

// makeRoom closes the file that was read least recently, of those that nobody
// reads now.
func (f *hostFiles) makeRoom() error {
	if len(f.open) < keptOpen {
		return nil
	}
	i := slices.IndexFunc(f.open, func(file *openFile) bool { return file.readers == 0 })
	if i < 0 {
		return nil
	}
	file := f.open[i]
	f.open = slices.Delete(f.open, i, i+1)
	return file.Close()
}

// reopen opens h, which must be as it was.
func (h *hostFile) reopen() (*os.File, error) {
	file, err := os.Open(h.name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (info.Size() != h.size || !info.ModTime().Equal(h.modTime)) {
		err = fmt.Errorf("file %s changed while it was in use", h.name)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (f *hostFiles) close() error {
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	f.open = nil
	return errors.Join(errs...)
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
