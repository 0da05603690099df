package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// DefaultSerialLogSize bounds the serial log of a VM, in bytes.
	DefaultSerialLogSize = 50_000_000

	// rotatedSuffix is behind the name of the older half of a serial log.
	rotatedSuffix = ".1"
)

// SerialLog keeps the newest part of a VM's serial output on disk, in two
// files: path, which grows up to half of the limit, and path+".1". When path is
// full, it replaces path+".1" and a new path begins. So the two never take more
// than the limit, and they hold at least the last half of it; read one after the
// other, path+".1" first, they are the output without a gap.
//
// It is safe for concurrent use; a Write is never mixed with another.
type SerialLog struct {
	path string
	half int64

	mu   sync.Mutex
	file *os.File
	size int64
	err  error // why the log takes no more
}

// OpenSerialLog opens the serial log at path, which it makes if there is none,
// and appends to it. The limit is in bytes, at least 2; 0 is
// DefaultSerialLogSize. Of an older log that has more than the limit, the end is kept.
func OpenSerialLog(path string, limit int64) (*SerialLog, error) {
	if limit == 0 {
		limit = DefaultSerialLogSize
	}
	if limit < 2 {
		return nil, fmt.Errorf("open serial log %q: limit %d, want at least 2", path, limit)
	}
	l := &SerialLog{path: path, half: limit / 2}
	for _, name := range []string{path + rotatedSuffix, path} {
		if err := trimFile(name, l.half); err != nil {
			return nil, fmt.Errorf("open serial log %q: %w", path, err)
		}
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open serial log %q: %w", path, err)
	}
	return l, nil
}

func (l *SerialLog) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p. It starts a new file behind a line's end if p has one where
// the old file is full. After an error about rotation the log takes no more.
func (l *SerialLog) Write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 && err == nil {
		if err = l.err; err != nil {
			break
		}
		chunk := p
		if room := l.half - l.size; int64(len(p)) > room {
			chunk = p[:room]
			if i := bytes.LastIndexByte(chunk, '\n'); i >= 0 {
				chunk = chunk[:i+1]
			}
		}
		var written int
		written, err = l.file.Write(chunk)
		n, p, l.size = n+written, p[written:], l.size+int64(written)
		if err == nil && len(p) > 0 {
			l.err = l.rotate()
		}
	}
	if err != nil {
		return n, fmt.Errorf("write serial log %q: %w", l.path, err)
	}
	return n, nil
}

func (l *SerialLog) rotate() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.path+rotatedSuffix); err != nil {
		return err
	}
	return l.open()
}

// Close closes the log. A Write after it is an error.
func (l *SerialLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.err = os.ErrClosed
	return l.file.Close()
}

// trimFile keeps the last limit bytes of a file. There may be none.
func trimFile(path string, limit int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || info.Size() <= limit {
		return err
	}
	// Source and target overlap, but the source is always ahead.
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(f, info.Size()-limit, limit)); err != nil {
		return err
	}
	return f.Truncate(limit)
}
