package main

import (
	"errors"
	"log"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The wait before another attempt to accept or to listen, doubled each time.
const (
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

// relistener is a listener that outlives the vsock device, which a restore
// resets: its Accept returns a connection, or net.ErrClosed after Close.
type relistener struct {
	listen func() (net.Listener, error)
	logger *log.Logger
	closed chan struct{}

	mu      sync.Mutex
	current net.Listener // replaced, never nil
}

func newRelistener(first net.Listener, listen func() (net.Listener, error), logger *log.Logger) *relistener {
	return &relistener{listen: listen, logger: logger, closed: make(chan struct{}), current: first}
}

func (l *relistener) Accept() (net.Conn, error) {
	wait := minAcceptWait
	for failed := false; ; failed = true {
		conn, err := l.listener().Accept()
		if err == nil {
			return conn, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.closed:
			timer.Stop()
			return nil, net.ErrClosed
		case <-timer.C:
		}
		if !failed { // not every time, since it can go on for long
			l.logger.Printf("%s accept connection, from now on again and again: %v", logTag, err)
		}
		if !ofConnection(err) {
			if err := l.replace(); err != nil && !failed {
				l.logger.Printf("%s listen again: %v", logTag, err)
			}
		}
		wait = min(2*wait, maxAcceptWait)
	}
}

// ofConnection tells errors of accept(2) after which the listener goes on: those
// of a connection that came to nothing, and of a want of memory or descriptors.
func ofConnection(err error) bool {
	for _, passing := range []error{
		unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO, unix.EINTR, unix.EAGAIN, unix.ETIMEDOUT,
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (l *relistener) listener() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// replace listens anew. The old listener is closed before, since it may have
// the port.
func (l *relistener) replace() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	closeErr := l.current.Close()
	if errors.Is(closeErr, net.ErrClosed) {
		closeErr = nil
	}
	select {
	case <-l.closed:
		return closeErr
	default:
	}
	next, err := l.listen()
	if err == nil {
		l.current = next
	}
	return errors.Join(closeErr, err)
}

// Close makes Accept return. It is called once.
func (l *relistener) Close() error {
	close(l.closed)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.current.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (l *relistener) Addr() net.Addr { return l.listener().Addr() }
