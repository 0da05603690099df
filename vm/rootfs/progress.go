package rootfs

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// counter counts the bytes of one step, and ends it with the context.
type counter struct {
	ctx         context.Context
	step        string
	tell        func(Progress) // nil tells nobody
	done, total int64
}

func (c *counter) add(n int) error {
	c.done += int64(n)
	if c.tell != nil {
		// Headers and what is read again do not count.
		c.tell(Progress{Step: c.step, Done: min(c.done, c.total), Total: c.total})
	}
	return context.Cause(c.ctx)
}

// sizeOf is how many bytes layers have as they are stored.
func sizeOf(layers []v1.Layer) (total int64, err error) {
	for i, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return 0, fmt.Errorf("read size of layer %d: %w", i+1, err)
		}
		total += size
	}
	return total, nil
}

// countedLayer is a layer whose stored bytes are counted when they are read.
type countedLayer struct {
	v1.Layer
	counter *counter
}

func (l countedLayer) Compressed() (io.ReadCloser, error) {
	blob, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return countedReader{blob, l.counter}, nil
}

type countedReader struct {
	io.ReadCloser
	counter *counter
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if ended := r.counter.add(n); ended != nil {
		return 0, ended
	}
	return n, err
}

type countedWriter struct {
	io.Writer
	counter *counter
}

func (w countedWriter) Write(p []byte) (int, error) {
	if ended := w.counter.add(len(p)); ended != nil {
		return 0, ended
	}
	return w.Writer.Write(p)
}
