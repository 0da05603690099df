package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
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

func TestWriteReadyFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "run", "hypeman", "ready")
	for _, nanos := range []int{123456789, 0} { // one that is there is replaced
		ready := time.Date(2026, 3, 8, 16, 9, 26, nanos, time.FixedZone("", 3600))
		if err := writeReadyFile(name, ready); err != nil {
			t.Fatal(err)
		}
	}
	wantText(t, name, "2026-03-08T15:09:26Z\n")
	if entries, err := os.ReadDir(filepath.Dir(name)); len(entries) != 1 || err != nil {
		t.Errorf("got %v, %v, want the file alone", entries, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("got %v, %v, want mode 0644", info, err)
	}

	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, want string }{
		{filepath.Join(name, "x"), "make ready file's folder: "},
		{filepath.Join(dir, "taken"), "place ready file: "},
	} {
		if err := writeReadyFile(test.name, time.Time{}); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) != 2 || err != nil {
		t.Errorf("got %v, %v, want nothing of what failed", entries, err)
	}
}

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"plain": "s3cret", "line": "s3cret\n", "empty": "", "newline": "\n"} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, want, wantErr string }{
		{file("none"), "", ""},
		{file("plain"), "s3cret", ""},
		{file("line"), "s3cret", ""},
		{file("empty"), "", "read agent token: " + file("empty") + " is empty"},
		{file("newline"), "", "read agent token: " + file("newline") + " is empty"},
		{dir, "", "read agent token: read " + dir + ": is a directory"},
		{file("plain/x"), "", "read agent token: open " + file("plain/x") + ": not a directory"},
	}
	for _, test := range tests {
		got, err := readToken(test.name)
		var text string
		if err != nil {
			text = err.Error()
		}
		if got != test.want || text != test.wantErr {
			t.Errorf("readToken(%q) = %q, %q, want %q, %q", test.name, got, text, test.want, test.wantErr)
		}
	}
}

func TestIsSystemd(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "file")
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": true, "file": false, "link": false, "none": false} {
		if got := isSystemd(filepath.Join(dir, name)); got != want {
			t.Errorf("isSystemd(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestTakeEnv(t *testing.T) {
	t.Setenv("KINDLING_TEST", "x")
	for _, want := range []string{"x", ""} {
		got, err := takeEnv("KINDLING_TEST")
		if got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, found := os.LookupEnv("KINDLING_TEST"); found {
		t.Error("the variable is still there")
	}
}
