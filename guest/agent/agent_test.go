package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/vsock"
)

func TestIsHost(t *testing.T) {
	tests := []struct {
		addr net.Addr
		want bool
	}{
		{&vsock.Addr{ContextID: 2, Port: 1}, true},
		{&vsock.Addr{ContextID: 0, Port: 2}, false}, // hypervisor
		{&vsock.Addr{ContextID: 1, Port: 2}, false}, // loopback
		{&vsock.Addr{ContextID: 3, Port: 2}, false}, // a guest, this one or another
		{&vsock.Addr{ContextID: 1<<32 - 1, Port: 2}, false},
		{&vsock.Addr{}, false},
		{(*vsock.Addr)(nil), false},
		{nil, false},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2}, false},
		{&net.UnixAddr{Name: "host(2):2222", Net: "vsock"}, false},
	}
	for _, test := range tests {
		if got := isHost(test.addr); got != test.want {
			t.Errorf("isHost(%#v) = %v, want %v", test.addr, got, test.want)
		}
	}
}

// conn is a connection that must be closed unread.
type conn struct {
	net.Conn
	cid    uint32
	closed bool
}

func (c *conn) RemoteAddr() net.Addr { return &vsock.Addr{ContextID: c.cid, Port: 1} }

func (c *conn) Close() error {
	c.closed = true
	return errors.New("close says no")
}

// queue is a listener with connections that have come already.
type queue struct {
	net.Listener
	conns []*conn
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.conns) == 0 {
		return nil, io.EOF
	}
	c := q.conns[0]
	q.conns = q.conns[1:]
	return c, nil
}

func TestHostListener(t *testing.T) {
	conns := []*conn{{cid: 1}, {cid: 3}, {cid: 2}, {cid: 1}}
	var logged bytes.Buffer
	l := &hostListener{Listener: &queue{conns: conns}, logger: log.New(&logged, "", 0)}
	if got, ok := accept(t, l).(*hostConn); !ok || got.Conn != conns[2] {
		t.Errorf("got %v, want the host's connection", got)
	}
	if got, err := l.Accept(); got != nil || err != io.EOF {
		t.Errorf("got %v, %v, want %v", got, err, io.EOF)
	}
	for i, c := range conns {
		if want := c.cid != 2; c.closed != want {
			t.Errorf("connection %d of CID %d: closed %v, want %v", i, c.cid, c.closed, want)
		}
	}
	if got := l.refused.Load(); got != 3 {
		t.Errorf("refused %d, want 3", got)
	}
	want := "[guest-agent] refuse connection from local(1):1, and others than the host from now on in silence\n" +
		"[guest-agent] close connection from local(1):1: close says no\n"
	if diff := cmp.Diff(want, logged.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestHostListenerBound has one connection more than may be open.
func TestHostListenerBound(t *testing.T) {
	conns := make([]*conn, maxConns+2)
	for i := range conns {
		conns[i] = &conn{cid: 2}
	}
	var logged bytes.Buffer
	l := &hostListener{Listener: &queue{conns: conns}, logger: log.New(&logged, "", 0)}
	first := accept(t, l)
	for range maxConns - 1 {
		accept(t, l)
	}
	if got, err := l.Accept(); err != io.EOF {
		t.Errorf("got %v, %v, want none", got, err)
	}
	if !conns[maxConns].closed || !conns[maxConns+1].closed || l.refused.Load() != 0 {
		t.Errorf("excess connections are open, or taken for others' than the host's (%d)", l.refused.Load())
	}
	if got := strings.Count(logged.String(), "while too many are open"); got != 1 {
		t.Errorf("logged %d times, want once:\n%s", got, logged.String())
	}
	for range 2 { // the second one does not count
		if err := first.Close(); err == nil {
			t.Error("got no error of close")
		}
	}
	l.Listener = &queue{conns: []*conn{{cid: 2}, {cid: 2}}}
	accept(t, l)
	if got, err := l.Accept(); err != io.EOF {
		t.Errorf("got %v, %v, want none", got, err)
	}
}

func TestListenRetrying(t *testing.T) {
	errBusy := errors.New("busy")
	tests := []struct {
		name     string
		fails    int           // attempts that fail
		stop     time.Duration // the context ends after that, if not 0
		wantTime time.Duration
		wantErr  []error
	}{
		{"at once", 0, 0, 0, nil},
		{"third attempt", 2, 0, 2 * time.Second, nil},
		{"last attempt", 9, 0, 9 * time.Second, nil},
		{"never", 10, 0, 9 * time.Second, []error{errBusy}},
		{"stopped", 10, 2500 * time.Millisecond, 2500 * time.Millisecond, []error{errBusy, context.Canceled}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.stop > 0 {
					time.AfterFunc(test.stop, cancel)
				}
				start := time.Now()
				listener := &queue{}
				var attempts int
				got, err := listenRetrying(ctx, func() (net.Listener, error) {
					if attempts++; attempts <= test.fails {
						return nil, errBusy
					}
					return listener, nil
				}, log.New(io.Discard, "", 0))
				if took := time.Since(start); took != test.wantTime {
					t.Errorf("took %v, want %v", took, test.wantTime)
				}
				if len(test.wantErr) == 0 && (got != listener || err != nil) {
					t.Errorf("got %v, %v, want the listener", got, err)
				}
				for _, want := range test.wantErr {
					if !errors.Is(err, want) {
						t.Errorf("got error %v, want %v", err, want)
					}
				}
			})
		})
	}
}

func TestNotifyReady(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(w.Fd()))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := notifyReady(strconv.Itoa(fd)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r) // to its end: the other side is closed
	if len(got) != 1 || err != nil {
		t.Errorf("got %q, %v, want one byte", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestNotifyReadyRejects(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil { // the agent must not have closed it
			t.Error(err)
		}
	}()
	tests := []struct{ name, text, want string }{
		{"none", "", ""},
		{"no number", "x", "parse ready descriptor: "},
		{"negative", "-1", "parse ready descriptor: "},
		{"out of range", "4294967296", "parse ready descriptor: "},
		{"closed", "1000000", "examine ready descriptor 1000000: bad file descriptor"},
		{"no pipe", strconv.Itoa(int(file.Fd())), "examine ready descriptor " + strconv.Itoa(int(file.Fd())) + ": not a pipe"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got string
			if err := notifyReady(test.text); err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("notifyReady(%q): %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestRunArguments(t *testing.T) {
	err := run([]string{"-x"}, log.New(io.Discard, "", 0))
	if want := `unexpected argument "-x"`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %q", err, want)
	}
}
