package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kindling-vm/kindling/vm/agent"
)

// hybrid is what a hypervisor does at its vsock socket, with a Unix socket in
// the place of the guest.
type hybrid struct {
	socket string

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func serveHybrid(t *testing.T, guestSocket string) *hybrid {
	t.Helper()
	h := &hybrid{conns: map[net.Conn]bool{}}
	h.socket = serveConns(t, func(conn net.Conn) {
		h.track(conn, true)
		defer h.track(conn, false)
		if err := bridge(conn, guestSocket); err != nil {
			t.Errorf("bridge: %v", err)
		}
	})
	return h
}

func (h *hybrid) track(conn net.Conn, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if open {
		h.conns[conn] = true
	} else {
		delete(h.conns, conn)
	}
}

// drop closes all connections, as a hypervisor does at a restore.
func (h *hybrid) drop(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		// Its bridge may have closed it already.
		if err := ignoreReset(conn.Close()); err != nil {
			t.Error(err)
		}
	}
}

func bridge(conn net.Conn, guestSocket string) error {
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil || line != "CONNECT 2222\n" {
		return fmt.Errorf("got line %q, %v", line, err)
	}
	guest, err := net.Dial("unix", guestSocket)
	if err != nil {
		return nil // a guest without a listener: the connection is closed
	}
	// The reply and the first bytes of the guest are one write, which a client
	// that reads ahead would mix up.
	first := make([]byte, 4096)
	n, err := guest.Read(first)
	if err != nil {
		return guest.Close()
	}
	if _, err := conn.Write(append([]byte("OK 1073741824\n"), first[:n]...)); err != nil {
		return guest.Close()
	}
	done := make(chan error)
	go func() {
		_, err := io.Copy(guest, r)
		done <- errors.Join(ignoreReset(err), ignoreReset(guest.Close()))
	}()
	_, err = io.Copy(conn, guest)
	return errors.Join(ignoreReset(err), ignoreReset(conn.Close()), <-done)
}

// ignoreReset is for ends of connections, which come from either side.
func ignoreReset(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return nil
	}
	return err
}

// serveConns handles the connections to a new Unix socket, and waits for the
// handlers at the end of the test.
func serveConns(t *testing.T, handle func(net.Conn)) (socket string) {
	t.Helper()
	listener := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				handle(conn)
				if err := ignoreReset(conn.Close()); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return listener.Addr().String()
}

func TestDialHybrid(t *testing.T) {
	t.Parallel()
	socket := serveConns(t, func(conn net.Conn) {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		if _, err := fmt.Fprintf(conn, "OK 1\nbehind %q", line); err != nil {
			t.Error(err)
		}
	})
	conn, err := agent.DialHybrid(limited(t), socket, 99)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err := errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	if want := `behind "CONNECT 99\n"`; string(got) != want {
		t.Errorf("got %q behind the handshake, want %q", got, want)
	}
}

// TestDialHybridReplies has servers that take their time, or end lines in another
// way.
func TestDialHybridReplies(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"OK 1\r\n", "OK \n", "OK 4294967295\n"} {
		t.Run(fmt.Sprintf("%q", reply), func(t *testing.T) {
			socket := serveConns(t, func(conn net.Conn) {
				if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
					t.Error(err)
				}
				for _, b := range []byte(reply + "behind") {
					if _, err := conn.Write([]byte{b}); err != nil {
						t.Error(err)
					}
				}
			})
			conn, err := agent.DialHybrid(limited(t), socket, 2222)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err := errors.Join(err, conn.Close()); err != nil || string(got) != "behind" {
				t.Errorf("got %q, error %v, want what is behind the line", got, err)
			}
		})
	}
}

// TestDialHybridDrip has a server whose line has no end.
func TestDialHybridDrip(t *testing.T) {
	t.Parallel()
	socket := serveConns(t, func(conn net.Conn) {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			<-ticker.C
			if _, err := conn.Write([]byte("O")); err != nil {
				return
			}
		}
	})
	_, err := agent.DialHybrid(limited(t), socket, 2222)
	if got, ok := errors.AsType[*agent.HandshakeError](err); !ok || len(got.Reply) != 64 {
		t.Errorf("got error %v, want a HandshakeError with 64 bytes", err)
	}
}

// TestDialVsock cannot count on a vsock device.
func TestDialVsock(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := agent.DialVsock(ctx, 3, 2222); err == nil || !strings.HasPrefix(err.Error(), "dial vsock: ") {
		t.Errorf("got %v, %v, want an error", conn, err)
	}
	c, err := agent.NewVsockClient(3)
	if err := closing(t, c, err).WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestDialHybridRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	tests := []struct {
		name, reply string
		want        agent.HandshakeError
	}{
		{"closed", "", agent.HandshakeError{Err: io.EOF}},
		{"closed within the line", "OK 1", agent.HandshakeError{Reply: "OK 1", Err: io.EOF}},
		{"other line", "ERR no such port\n", agent.HandshakeError{Reply: "ERR no such port"}},
		{"no space", "OK\n", agent.HandshakeError{Reply: "OK"}},
		{"other case", "ok 1\n", agent.HandshakeError{Reply: "ok 1"}},
		{"empty line", "\n", agent.HandshakeError{}},
		{"binary", "\x00\xff\n", agent.HandshakeError{Reply: "\x00\xff"}},
		{"long line of another kind", long + "\n", agent.HandshakeError{Reply: long[:64]}},
		{"no line end", long, agent.HandshakeError{Reply: long[:64]}},
		{"long line", "OK " + long + "\n", agent.HandshakeError{Reply: "OK " + long[:61]}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			socket := serveConns(t, func(conn net.Conn) {
				if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
					t.Error(err)
				}
				// The client does not read all of a long line.
				if _, err := io.WriteString(conn, test.reply); ignoreReset(err) != nil {
					t.Error(err)
				}
			})
			conn, err := agent.DialHybrid(limited(t), socket, 2222)
			got, ok := errors.AsType[*agent.HandshakeError](err)
			if !ok {
				t.Fatalf("got %v, %v, want a HandshakeError", conn, err)
			}
			test.want.Port = 2222
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateErrors()); diff != "" {
				t.Errorf("error %q (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestDialHybridSlow has servers that never come to the end of the line.
func TestDialHybridSlow(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"", "OK 1"} {
		t.Run(fmt.Sprintf("reply %q", reply), func(t *testing.T) {
			ctx, cancel := context.WithCancel(limited(t))
			socket := serveConns(t, func(conn net.Conn) {
				if _, err := io.WriteString(conn, reply); err != nil {
					t.Error(err)
				}
				cancel()
				// Until the client closes, which it may do before it has read the reply.
				if _, err := io.Copy(io.Discard, conn); ignoreReset(err) != nil {
					t.Error(err)
				}
			})
			conn, err := agent.DialHybrid(ctx, socket, 2222)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, %v, want %v", conn, err, context.Canceled)
			}
		})
	}
	t.Run("default limit", func(t *testing.T) {
		socket := serveConns(t, func(conn net.Conn) {
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		_, err := agent.DialHybrid(t.Context(), socket, 2222)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > patience {
			t.Errorf("got error %v after %v, want %v after 5s", err, time.Since(start), context.DeadlineExceeded)
		}
	})
}

func TestDialHybridNoSocket(t *testing.T) {
	t.Parallel()
	_, err := agent.DialHybrid(limited(t), shortDir(t)+"/none", 2222)
	if want := "dial hybrid vsock: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got error %v, want %q", err, want)
	}
}
