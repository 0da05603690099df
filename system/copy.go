package system

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// copyFrom puts a file in place from a source, if it has the right bytes. Every
// error that is the source's is a *SourceError.
func (in *installation) copyFrom(ctx context.Context, d *datadir.Dir, source Source, item item) (err error) {
	blame := func(err error) error {
		return &SourceError{Source: source.String(), File: item.file.Name, Err: err}
	}
	from, err := source.Open(ctx, in.id, item.file)
	if err != nil {
		return blame(err)
	}
	defer func() {
		if closeErr := from.Close(); closeErr != nil && err == nil {
			err = blame(closeErr)
		}
	}()
	c := &copying{ctx: ctx, hash: sha256.New(), limit: item.file.Size, progress: func(done int64) { in.report(item, done) }}
	if file, ok := from.(*os.File); ok && in.options.Link {
		if err := errors.Join(c.hashOnly(io.LimitReader(file, c.limit+1)), c.wrong(item.file)); err != nil {
			return blame(err)
		}
		if linked, err := d.LinkFile(file, item.name); err != nil {
			return storage(err, 0)
		} else if linked {
			return in.remember(d, item)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return blame(err)
		}
		c.hash.Reset()
		c.done = 0
	}
	temp, err := d.Temp()
	if err != nil {
		return storage(err, item.file.Size)
	}
	defer func() { err = errors.Join(err, temp.Discard()) }()
	c.to = temp
	err = c.run(from)
	if c.failed != nil {
		return storage(c.failed, item.file.Size)
	}
	if err == nil {
		err = c.wrong(item.file)
	}
	if err != nil {
		return blame(err)
	}
	if err := temp.Sync(); err != nil {
		return storage(err, item.file.Size)
	}
	if err := temp.Commit(item.name, fileMode(item.file.Kind)); err != nil {
		return storage(err, item.file.Size)
	}
	return in.remember(d, item)
}

// remember writes the record of a file whose bytes were just checked. It is
// described under its name: renaming changes its times.
func (in *installation) remember(d *datadir.Dir, item item) (err error) {
	file, err := d.Open(item.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r := &record{SHA256: item.file.SHA256, Pinned: true}
	if err := r.describe(file); err != nil {
		return err
	}
	return in.writeRecord(d, item.name, r)
}

func (in *installation) report(item item, done int64) {
	if in.options.Progress == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.options.Progress(Progress{ID: in.id, Arch: item.arch, File: item.file, Done: done})
}

const chunkSize = 1 << 20

// copying reads, hashes and writes at the same time. The bytes are in memory
// once: what is hashed is what is written.
type copying struct {
	ctx      context.Context
	to       *datadir.Temp
	hash     hash.Hash
	limit    int64 // bytes that the file should have
	progress func(done int64)

	done   int64 // bytes read; at most one chunk more than limit
	failed error // of writing
}

// wrong tells how what was read is not the file.
func (c *copying) wrong(file bundle.File) error {
	got := hex.EncodeToString(c.hash.Sum(nil))
	switch {
	case c.done > file.Size:
		return fmt.Errorf("it has more than %d bytes", file.Size)
	case c.done < file.Size:
		return fmt.Errorf("it has %d bytes, want %d", c.done, file.Size)
	case got != file.SHA256:
		return fmt.Errorf("it has SHA-256 %s, want %s", got, file.SHA256)
	}
	return nil
}

// run gives the error of reading.
func (c *copying) run(from io.Reader) error {
	if file, ok := from.(*os.File); ok {
		cloned, err := c.to.Clone(file)
		if err != nil {
			c.failed = err
			return nil
		}
		if cloned {
			return c.hashOnly(io.NewSectionReader(c.to, 0, c.limit+1))
		}
	}
	if c.failed = c.to.Reserve(c.limit); c.failed != nil {
		return nil
	}
	return c.pipe(from)
}

// hashOnly reads what is in the file already.
func (c *copying) hashOnly(from io.Reader) error {
	n, err := io.Copy(c.hash, &contextReader{c.ctx, from})
	c.done = n
	c.progress(n)
	return err
}

// pipe copies. While a chunk is hashed and written, the next one is read.
func (c *copying) pipe(from io.Reader) error {
	type chunk struct {
		data []byte
		err  error
	}
	read := make(chan chunk)
	free := make(chan []byte, 2)
	for range cap(free) {
		free <- make([]byte, min(chunkSize, c.limit+1))
	}
	go func() {
		defer close(read)
		for data := range free {
			n, err := io.ReadFull(&contextReader{c.ctx, from}, data)
			if err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			read <- chunk{data[:n], err}
			if err != nil {
				return
			}
		}
	}()
	var err error
	hashed := make(chan struct{})
	for next := range read {
		if c.failed != nil || c.done > c.limit {
			continue // the reader is about to end
		}
		c.done += int64(len(next.data))
		go func() {
			c.hash.Write(next.data)
			hashed <- struct{}{}
		}()
		if _, c.failed = c.to.Write(next.data); c.failed != nil || c.done > c.limit || next.err != nil {
			close(free)
		}
		<-hashed
		if next.err != nil && next.err != io.EOF {
			err = next.err
		}
		c.progress(min(c.done, c.limit))
		if c.failed == nil && c.done <= c.limit && next.err == nil {
			free <- next.data[:cap(next.data)]
		}
	}
	return err
}
