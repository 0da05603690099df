package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// Frames of HTTP/2 (RFC 9113).
const (
	preface           = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaders      = 1
	frameReset        = 3
	frameSetting      = 4
	framePing         = 6
	frameContinuation = 9
	endHeaders        = 4 // flag
)

func frame(kind, flags byte, stream uint32, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// field is a header in HPACK (RFC 7541, 6.2.2), never indexed. Both texts are
// shorter than 127 bytes.
func field(name, value string) string {
	return "\x00" + string(rune(len(name))) + name + string(rune(len(value))) + value
}

// call is the headers of a call of Exec.
func call(more string) string {
	return field(":method", "POST") + field(":scheme", "http") + field(":path", "/guest.GuestService/Exec") +
		field(":authority", "vsock") + field("content-type", "application/grpc") + field("te", "trailers") + more
}

// TestHostilePeer has peers that do not speak HTTP/2, or too much of it. Each is
// closed, and the next one served.
func TestHostilePeer(t *testing.T) {
	settings := preface + string(frame(frameSetting, 0, 0, ""))
	tests := []struct {
		name string
		send func(w io.Writer) error // an error ends it
	}{
		{"no preface", func(w io.Writer) error { return write(w, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1) }},
		{"garbage", func(w io.Writer) error { return write(w, strings.Repeat("\xff\x00x", 100), 1000) }},
		{"preface alone, then garbage", func(w io.Writer) error { return write(w, preface+strings.Repeat("\xff", 100), 1000) }},
		{"frame of 16 MiB", func(w io.Writer) error { return write(w, settings+"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 1) }},
		{"frame of an odd stream", func(w io.Writer) error {
			return write(w, settings+string(frame(frameHeaders, endHeaders, 2, call(""))), 1)
		}},
		{"broken headers", func(w io.Writer) error {
			return write(w, settings+string(frame(frameHeaders, endHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff\xff")), 1)
		}},
		{"headers without end", func(w io.Writer) error {
			many := strings.Repeat(field("x", strings.Repeat("x", 120)), 125) // 15 KiB
			if err := write(w, settings+string(frame(frameHeaders, 0, 1, call(many))), 1); err != nil {
				return err
			}
			return write(w, string(frame(frameContinuation, 0, 1, many)), 100_000)
		}},
		{"pings", func(w io.Writer) error {
			if err := write(w, settings, 1); err != nil {
				return err
			}
			return write(w, string(frame(framePing, 0, 0, "12345678")), 100_000)
		}},
	}
	listener := serveInMemory(t, Options{Env: os.Environ()})
	before := heapInUse()
	t.Run("all", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				conn, err := listener.DialContext(limited(t))
				if err != nil {
					t.Fatal(err)
				}
				wantClosed(t, conn, func() error { return test.send(conn) })
				wantServed(t, listener)
			})
		}
	})
	if grown := int64(heapInUse()) - int64(before); grown > 8<<20 {
		t.Errorf("%d bytes more in use, want 8 MiB at most", grown)
	}
}

func write(w io.Writer, text string, times int) error {
	for range times {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// wantClosed sends, and wants that the server closes, well before a minute.
func wantClosed(t *testing.T, conn net.Conn, send func() error) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is open after 20 seconds")
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-sent; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send: %v", err)
	}
}

func wantServed(t *testing.T, listener *bufconn.Listener) {
	t.Helper()
	conn, err := dialListener(listener)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := mustStart(t, guestpb.NewGuestServiceClient(conn), sh("exit 6")).end(); got != (ending{code: 6}) {
		t.Errorf("next peer got %+v, want code 6", got)
	}
}

// TestRapidReset has 10,000 calls that are called off at once.
func TestRapidReset(t *testing.T) {
	listener := serveInMemory(t, Options{Env: os.Environ()})
	before, goroutines := heapInUse(), runtime.NumGoroutine()
	conn, err := listener.DialContext(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, conn); read <- err }()
	if err := write(conn, preface+string(frame(frameSetting, 0, 0, "")), 1); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(10_000) {
		stream := 2*i + 1
		one := append(frame(frameHeaders, endHeaders, stream, call("")), frame(frameReset, 0, stream, "\x00\x00\x00\x08")...)
		if _, err := conn.Write(one); err != nil {
			t.Fatal(err)
		}
	}
	wantServed(t, listener)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the server closed before: %v", err)
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if grown := int64(heapInUse()) - int64(before); grown > 16<<20 {
		t.Errorf("%d bytes more in use, want 16 MiB at most", grown)
	}
}

// TestDeadPeer has a peer that answers no ping, as a host's process that hangs.
func TestDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serveInBubble(t)
		defer stop()
		conn, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := write(conn, preface+string(frame(frameSetting, 0, 0, "")), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < idleTime || took > idleTime+2*pingTimeout {
			t.Errorf("closed after %v, want %v and %v", took, idleTime, pingTimeout)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestIdleCall has a call on which nothing happens for an hour.
func TestIdleCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serveInBubble(t)
		defer stop()
		conn, err := dialListener(listener)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if resp, err := stream.Recv(); ctx.Err() == nil {
			t.Errorf("got %v, %v before the hour was over", resp, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

func serveInBubble(t *testing.T) (listener *bufconn.Listener, stop func()) {
	t.Helper()
	s := New(Options{})
	listener = bufconn.Listen(64 << 10)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	return listener, func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
