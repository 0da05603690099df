package agent_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

var cycles = flag.Int("cycles", 500, "connections of TestCycles")

// requireNoMore waits until there are no more descriptors, goroutines and
// children than before a test. No other test may run at the same time.
func requireNoMore(t *testing.T) func() {
	t.Helper()
	descriptors, goroutines := countDescriptors(t), runtime.NumGoroutine()
	return func() {
		t.Helper()
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		end := time.After(patience)
		for {
			nowDescriptors, nowGoroutines := countDescriptors(t), runtime.NumGoroutine()
			if nowDescriptors <= descriptors && nowGoroutines <= goroutines {
				break
			}
			select {
			case <-ticker.C:
			case <-end:
				t.Errorf("left are %d descriptors and %d goroutines", nowDescriptors-descriptors, nowGoroutines-goroutines)
				return
			}
		}
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
			t.Errorf("a child is left (wait4: pid %d, %v)", pid, err)
		}
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestCycles connects, runs a command and disconnects, and again, with a fault in
// most of the rounds.
func TestCycles(t *testing.T) {
	h := serveHybrid(t, serveAgent(t))
	requireSame := requireNoMore(t)
	var failConnect atomic.Bool
	round := func(n int) {
		c, err := agent.NewClient(func(ctx context.Context) (net.Conn, error) {
			if failConnect.Load() {
				return nil, errCutOff
			}
			return agent.DialHybrid(ctx, h.socket, 2222)
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(limited(t))
		defer cancel()
		o := agent.ExecOptions{Command: sh("echo $$; cat"), Stdin: zeros{}, Stdout: io.Discard}
		var want error
		switch n % 6 {
		case 0: // no fault
			o = agent.ExecOptions{Command: []string{"true"}}
		case 1:
			want, o.Stdout = context.Canceled, onFirst(func() { cancel() })
		case 2:
			want, o.Stdout = agent.ErrLost, onFirst(func() { h.drop(t) })
		case 3:
			want, o.Stdout = errCutOff, failing{}
		case 4:
			want, o.Stdin = errCutOff, failing{}
		case 5:
			want = agent.ErrUnavailable
			failConnect.Store(true)
		}
		_, err = c.Exec(ctx, o)
		if !errors.Is(err, want) {
			t.Errorf("round %d: got error %v, want %v", n, err, want)
		}
		failConnect.Store(false)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for n := range *cycles {
		round(n)
	}
	requireSame()
}

// onFirst is a writer that calls a function at its first bytes.
func onFirst(call func()) io.Writer { return &firstWriter{call: call} }

type firstWriter struct{ call func() }

func (w *firstWriter) Write(b []byte) (int, error) {
	if w.call != nil {
		w.call()
		w.call = nil
	}
	return len(b), nil
}

// TestThousandResets has a hypervisor that drops all connections under a call, a
// thousand times. The client is one and the same.
func TestThousandResets(t *testing.T) {
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	guestpb.RegisterGuestServiceServer(s, &badGuest{exec: func(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
		if err := stream.Send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: []byte("up")}}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}})
	h := serveHybrid(t, serve(t, s))
	requireSame := requireNoMore(t)
	c, err := agent.NewHybridClient(h.socket)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		_, err := c.Exec(limited(t), agent.ExecOptions{Stdin: zeros{}, Stdout: onFirst(func() { h.drop(t) })})
		if !errors.Is(err, agent.ErrLost) {
			t.Fatalf("round %d: got error %v, want %v", n, err, agent.ErrLost)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	requireSame()
}
