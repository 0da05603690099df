package fstree

import "io"

const (
	// aheadBytes is the size of a chunk that is handed over. Larger ones do not
	// make it faster.
	aheadBytes = 256 << 10
	// aheadChunks is how many there are.
	aheadChunks = 4
)

// readAhead reads from a reader in a goroutine, so that decompression, which takes
// the longest, runs beside what is done with its result. Nobody else may use the
// reader until close returns.
type readAhead struct {
	full chan chunk
	free chan []byte
	stop chan struct{}

	now  chunk  // that is read
	rest []byte // of it
}

type chunk struct {
	buf []byte
	n   int
	err error // behind it
}

func newReadAhead(r io.Reader) *readAhead {
	a := &readAhead{full: make(chan chunk), free: make(chan []byte, aheadChunks), stop: make(chan struct{})}
	for range aheadChunks {
		a.free <- make([]byte, aheadBytes)
	}
	go a.run(r)
	return a
}

func (a *readAhead) run(r io.Reader) {
	defer close(a.full)
	for {
		var c chunk
		select {
		case c.buf = <-a.free:
		case <-a.stop:
			return
		}
		for c.n < len(c.buf) && c.err == nil {
			var n int
			n, c.err = r.Read(c.buf[c.n:])
			c.n += n
		}
		select {
		case a.full <- c:
		case <-a.stop:
			return
		}
		if c.err != nil {
			return
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buf != nil {
			a.free <- a.now.buf
		}
		a.now = <-a.full
		a.rest = a.now.buf[:a.now.n]
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// close ends the goroutine.
func (a *readAhead) close() {
	close(a.stop)
	for range a.full {
		// It is closed when the goroutine has ended.
	}
}
