package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/vm/agent"
)

const (
	// hostileTime is how long a call with a hostile guest may take, and hostileSlack
	// how much longer it takes on a slow machine.
	hostileTime  = 400 * time.Millisecond
	hostileSlack = 10 * time.Second
	// hostileConnections is how often a host may connect meanwhile.
	hostileConnections = 100
	// hostileMemory is how much a hostile guest may make the heap grow, in bytes:
	// a message, the windows, and what the collector has not come to.
	hostileMemory = 64 << 20
)

// Types and flags of frames, as RFC 9113, section 6, has them.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8
	frameContinuation = 9

	flagEndStream  = 1
	flagEndHeaders = 4
)

// frame is an HTTP/2 frame whose header tells the truth.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	return append(frameHeader(len(payload), kind, flags, stream), payload...)
}

func frameHeader(length int, kind, flags byte, stream uint32) []byte {
	header := []byte{byte(length >> 16), byte(length >> 8), byte(length), kind, flags}
	return binary.BigEndian.AppendUint32(header, stream)
}

// headers are those of a usual answer, without compression (RFC 7541, section 6).
func headers(fields ...string) []byte {
	block := []byte{0x88} // :status 200
	fields = append([]string{"content-type", "application/grpc"}, fields...)
	for i := 0; i < len(fields); i += 2 {
		block = append(append(block, 0, byte(len(fields[i]))), fields[i]...)
		block = append(append(block, byte(len(fields[i+1]))), fields[i+1]...)
	}
	return block
}

// message is a gRPC message's prefix, and what comes behind it.
func message(length uint32, data ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, length), data...)
}

// guestConn is a hostile guest's side of a connection.
type guestConn struct {
	net.Conn
	stop error // of the first write that failed
}

// write writes as long as the host listens.
func (g *guestConn) write(data ...[]byte) bool {
	for _, b := range data {
		if g.stop == nil {
			_, g.stop = g.Write(b)
		}
	}
	return g.stop == nil
}

// flood writes the same for ever.
func (g *guestConn) flood(data []byte) {
	many := bytes.Repeat(data, max(1, 16<<10/len(data)))
	for g.write(many) {
	}
}

// hush reads until the host has closed.
func (g *guestConn) hush() { _, g.stop = io.Copy(io.Discard, g) }

// awaitCall answers the preface and returns when the host's first call is there.
func (g *guestConn) awaitCall() bool {
	g.write(frame(frameSettings, 0, 0, nil))
	r := bufio.NewReader(g)
	if _, err := io.ReadFull(r, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return false
	}
	header := make([]byte, 9)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			return false
		}
		length := int64(header[0])<<16 | int64(header[1])<<8 | int64(header[2])
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			return false
		}
		if header[3] == frameHeaders {
			go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the connection
			return true
		}
	}
}

// hostileGuests are what a guest may do behind the handshake.
var hostileGuests = []struct {
	name  string
	guest func(*guestConn)
}{
	{"silence", func(g *guestConn) { g.hush() }},
	{"hang-up", func(*guestConn) {}},
	{"another protocol", func(g *guestConn) {
		g.write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
		g.hush()
	}},
	{"garbage without end", func(g *guestConn) { g.flood([]byte("\xff\x00garbage\n")) }},
	{"zeros without end", func(g *guestConn) { g.flood(make([]byte, 1024)) }},
	{"preface byte by byte", func(g *guestConn) {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for _, b := range bytes.Repeat(frame(frameSettings, 0, 0, make([]byte, 6000)), 100) {
			if <-ticker.C; !g.write([]byte{b}) {
				return
			}
		}
	}},
	{"frame of 16 MiB", func(g *guestConn) {
		g.write(frame(frameSettings, 0, 0, nil), frameHeader(1<<24-1, frameSettings, 0, 0))
		g.flood(make([]byte, 1024))
	}},
	{"settings flood", func(g *guestConn) { g.flood(frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0xff, 0xff})) }},
	{"ping flood", func(g *guestConn) {
		g.write(frame(frameSettings, 0, 0, nil))
		g.flood(frame(framePing, 0, 0, make([]byte, 8)))
	}},
	{"ping flood, and nothing read", func(g *guestConn) {
		if g.awaitCall() {
			g.flood(frame(framePing, 0, 0, make([]byte, 8)))
		}
	}},
	{"GOAWAY at once", func(g *guestConn) {
		g.write(frame(frameSettings, 0, 0, nil), frame(frameGoAway, 0, 0, make([]byte, 8)))
		g.hush()
	}},
	{"GOAWAY storm", func(g *guestConn) {
		if g.awaitCall() {
			g.flood(frame(frameGoAway, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}))
		}
	}},
	{"window flood", func(g *guestConn) {
		if g.awaitCall() {
			g.flood(frame(frameWindowUpdate, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}))
		}
	}},
	{"reset", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameReset, 0, 1, []byte{0, 0, 0, 2}))
			g.hush()
		}
	}},
	{"refusal of the call", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameReset, 0, 1, []byte{0, 0, 0, 7}))
			g.hush()
		}
	}},
	{"frames of calls that nobody made", func(g *guestConn) {
		if g.awaitCall() {
			g.flood(append(frame(frameHeaders, flagEndHeaders, 7, headers()), frame(frameReset, 0, 9, make([]byte, 4))...))
		}
	}},
	{"header bomb", func(g *guestConn) {
		if g.awaitCall() {
			// The same entry of the table again and again, which costs a byte each.
			block := append(headers("a", strings.Repeat("x", 100)), bytes.Repeat([]byte{0x82}, 15_000)...)
			g.flood(frame(frameHeaders, flagEndHeaders, 1, block))
		}
	}},
	{"headers without end", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, 0, 1, headers()))
			g.flood(frame(frameContinuation, 0, 1, append([]byte{0, 1, 'a', 100}, make([]byte, 100)...)))
		}
	}},
	{"data before headers", func(g *guestConn) {
		if g.awaitCall() {
			g.flood(frame(frameData, 0, 1, message(1, 0)))
		}
	}},
	{"message of 4 GiB", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()), frame(frameData, 0, 1, message(1<<32-1)))
			g.flood(frame(frameData, 0, 1, make([]byte, 16000)))
		}
	}},
	{"message over the window", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()), frame(frameData, 0, 1, message(4<<20)))
			g.flood(frame(frameData, 0, 1, make([]byte, 16384)))
		}
	}},
	{"message that does not end", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()), frame(frameData, 0, 1, message(100, 1, 2)))
			g.hush()
		}
	}},
	{"message that is none", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()), frame(frameData, 0, 1, message(2, 0xff, 0xff)))
			g.hush()
		}
	}},
	{"compressed message", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()), frame(frameData, 0, 1, append([]byte{1}, message(2, 0, 0)[1:]...)))
			g.hush()
		}
	}},
	{"empty messages without end", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders, 1, headers()))
			g.flood(frame(frameData, 0, 1, message(0)))
		}
	}},
	{"end without an exit code", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders|flagEndStream, 1, headers("grpc-status", "0")))
			g.hush()
		}
	}},
	{"status that is no number", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders|flagEndStream, 1, headers("grpc-status", "4294967297")))
			g.hush()
		}
	}},
	{"text that draws", func(g *guestConn) {
		if g.awaitCall() {
			g.write(frame(frameHeaders, flagEndHeaders|flagEndStream, 1, headers("grpc-status", "2", "grpc-message", "%1B[31mred%07%E2%80%AE%0Anext")))
			g.hush()
		}
	}},
}

// TestHostileGuest has guests that do what they can to the host's memory and
// time. Every one of them is met twice at the same time.
func TestHostileGuest(t *testing.T) {
	for _, test := range hostileGuests {
		t.Run(test.name, func(t *testing.T) {
			var connections atomic.Int64
			socket := serveConns(t, func(conn net.Conn) {
				if connections.Add(1); acceptHandshake(conn) {
					test.guest(&guestConn{Conn: conn})
				}
			})
			c := newHybridClient(t, socket)
			ctx, cancel := context.WithTimeout(t.Context(), hostileTime)
			defer cancel()
			before := heap()
			start := time.Now()
			errs := make(chan error, 2)
			for range 2 {
				go func() {
					_, err := c.Exec(ctx, agent.ExecOptions{Command: []string{"true"}, Stdin: zeros{}, Stdout: io.Discard})
					errs <- err
				}()
			}
			peak := before
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for ended := 0; ended < 2; {
				select {
				case err := <-errs:
					ended++
					if err == nil {
						t.Error("got no error")
					} else if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != unicode.ReplacementChar }) || len(text) > 8<<10 {
						t.Errorf("got error %.200q of %d bytes, want it short and printable", text, len(text))
					}
				case <-ticker.C:
					peak = max(peak, heap())
				}
			}
			if took := time.Since(start); took > hostileTime+hostileSlack {
				t.Errorf("calls took %v, want at most %v", took, hostileTime)
			}
			if grown := int64(peak) - int64(before); grown > hostileMemory {
				t.Errorf("heap grew by %d bytes, want at most %d", grown, hostileMemory)
			}
			if n := connections.Load(); n > hostileConnections {
				t.Errorf("host connected %d times in %v, want at most %d", n, hostileTime, hostileConnections)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// acceptHandshake is a hypervisor whose guest listens.
func acceptHandshake(conn net.Conn) bool {
	if _, err := io.ReadFull(conn, make([]byte, len("CONNECT 2222\n"))); err != nil {
		return false
	}
	_, err := io.WriteString(conn, "OK 1024\n")
	return err == nil
}

// TestErrorKinds has agents that fail in ways that a caller tells apart.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		guest func(*guestConn)
		want  error
	}{
		{"refused before it began", func(g *guestConn) {
			g.write([]byte("no HTTP/2 at all, which is longer than a frame's header"))
			g.hush()
		}, agent.ErrUnavailable},
		{"connection lost", func(g *guestConn) { g.awaitCall() }, agent.ErrLost},
		{"call cancelled by the guest", func(g *guestConn) {
			g.awaitCall()
			g.write(frame(frameReset, 0, 1, []byte{0, 0, 0, 8}))
			g.hush()
		}, agent.ErrLost},
		{"not served", func(g *guestConn) { g.answer("12") }, agent.ErrUnimplemented},
		{"token refused", func(g *guestConn) { g.answer("16") }, agent.ErrUnauthenticated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t, serveConns(t, func(conn net.Conn) { test.guest(&guestConn{Conn: conn}) }))
			calls := map[string]func(context.Context) error{
				"stream": func(ctx context.Context) error {
					_, err := c.Exec(ctx, agent.ExecOptions{})
					return err
				},
				"single": func(ctx context.Context) error { return c.Shutdown(ctx, agent.ShutdownOptions{}) },
			}
			for name, call := range calls {
				err := call(limited(t))
				if !errors.Is(err, test.want) {
					t.Errorf("%s: got error %v, want %v", name, err, test.want)
				}
				if call, ok := errors.AsType[*agent.CallError](err); !ok || call.Code == codes.OK || call.Code != status.Code(err) {
					t.Errorf("%s: got error %#v, want a CallError", name, err)
				}
				// The next call is to be the first of a connection again.
				c = newClient(t, serveConns(t, func(conn net.Conn) { test.guest(&guestConn{Conn: conn}) }))
			}
		})
	}
}

// answer answers a connection's first call with a status.
func (g *guestConn) answer(code string) {
	if g.awaitCall() {
		g.write(frame(frameHeaders, flagEndHeaders|flagEndStream, 1, headers("grpc-status", code)))
		g.hush()
	}
}
