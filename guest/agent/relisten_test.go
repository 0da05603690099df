package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// script is a listener whose Accept gives the errors in their order, and then
// a connection again and again. Of an error nil it is the connection, too.
type script struct {
	net.Listener
	errs   []error
	closed chan struct{}
}

func newScript(errs ...error) *script { return &script{errs: errs, closed: make(chan struct{})} }

func (s *script) Accept() (net.Conn, error) {
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		if err == io.EOF { // stands for: wait
			<-s.closed
			return nil, net.ErrClosed
		}
		return nil, err
	}
	return &conn{cid: 2}, nil
}

func (s *script) Addr() net.Addr { return &vsock.Addr{ContextID: 3, Port: 2222} }

func (s *script) Close() error {
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
		close(s.closed)
		return nil
	}
}

func isClosed(s *script) bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// errno is an error as accept(2) gives it by way of a package.
func errno(e syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "vsock", Err: os.NewSyscallError("accept4", e)}
}

func TestRelistener(t *testing.T) {
	tests := []struct {
		name        string
		first       []error
		next        []error // of listen: nil is a listener
		wantListens int
		wantLog     []string // how lines begin
	}{
		{"none", nil, nil, 0, nil},
		{"connection came to nothing", []error{errno(unix.ECONNABORTED)}, nil, 0, []string{"accept connection"}},
		{"reset", []error{errno(unix.ECONNRESET), errno(unix.ECONNRESET)}, nil, 0, []string{"accept connection"}},
		{"no descriptors", []error{errno(unix.EMFILE), errno(unix.ENFILE), errno(unix.ENOMEM)}, nil, 0, []string{"accept connection"}},
		{"no device", []error{errno(unix.ENODEV)}, []error{nil}, 1, []string{"accept connection"}},
		{"dead", []error{errors.New("x")}, []error{nil}, 1, []string{"accept connection"}},
		{
			"device is long away", []error{errno(unix.ENODEV), net.ErrClosed, net.ErrClosed},
			[]error{errno(unix.EADDRINUSE), errno(unix.ENODEV), nil}, 3,
			[]string{"accept connection", "listen again"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				var listens int
				first, next := newScript(test.first...), newScript()
				l := newRelistener(first, func() (net.Listener, error) {
					err := test.next[listens]
					listens++
					if err != nil {
						return nil, err
					}
					return next, nil
				}, log.New(&logged, "", 0))
				began := time.Now()
				if got, err := l.Accept(); got == nil || err != nil {
					t.Errorf("got %v, %v, want a connection", got, err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("took %v, want a second at most", took)
				}
				if listens != test.wantListens || isClosed(first) != (listens > 0) {
					t.Errorf("listened %d times, closed %v, want %d", listens, isClosed(first), test.wantListens)
				}
				lines := strings.Split(strings.TrimSuffix(logged.String(), "\n"), "\n")
				if logged.Len() == 0 {
					lines = nil
				}
				if len(lines) != len(test.wantLog) {
					t.Fatalf("got log %q, want %q", lines, test.wantLog)
				}
				for i, want := range test.wantLog {
					if !strings.HasPrefix(lines[i], logTag+" "+want) {
						t.Errorf("line %d: got %q, want %q", i, lines[i], want)
					}
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRelistenerClose closes while Accept waits for a connection, and while it
// waits for another attempt.
func TestRelistenerClose(t *testing.T) {
	for _, errs := range [][]error{{io.EOF}, {errno(unix.EMFILE), errno(unix.EMFILE), errno(unix.EMFILE), io.EOF}} {
		synctest.Test(t, func(t *testing.T) {
			listen := func() (net.Listener, error) {
				t.Error("it listens again")
				return newScript(), nil
			}
			first := newScript(errs...)
			l := newRelistener(first, listen, log.New(io.Discard, "", 0))
			done := make(chan error)
			go func() {
				_, err := l.Accept()
				done <- err
			}()
			synctest.Wait()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; err != net.ErrClosed {
				t.Errorf("got error %v, want %v", err, net.ErrClosed)
			}
			if !isClosed(first) {
				t.Error("the listener below is open")
			}
		})
	}
}

// TestServeOutlivesListener serves on a listener that dies again and again.
func TestServeOutlivesListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var listens int
		lives := make(chan struct{})
		listen := func() (net.Listener, error) {
			if listens++; listens > 100 {
				close(lives)
				return newScript(io.EOF), nil
			}
			return newScript(errno(unix.ENODEV)), nil
		}
		l := newRelistener(newScript(errno(unix.ENODEV)), listen, log.New(io.Discard, "", 0))
		served := make(chan error)
		go func() { served <- serve(ctx, l, serverOptions()) }()
		select {
		case err := <-served:
			t.Fatalf("serve ended: %v", err)
		case <-lives:
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
