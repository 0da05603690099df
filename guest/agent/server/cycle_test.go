package server

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

var cycles = flag.Int("cycles", 1000, "number of connections of TestCycles")

// faults are what can go wrong in a connection's life. Each takes a connection
// from its begin to its end.
var faults = []func(context.Context, *bufconn.Listener) error{
	wellBehaved,
	onATerminal,
	callCancelled,
	connectionClosed,
	notStarted,
	neverHalfClosed,
	noHTTP,
	signalled,
}

// TestCycles has connections with commands and faults, after which nothing of
// them is left.
func TestCycles(t *testing.T) {
	listener := serveInMemory(t, Options{Env: os.Environ()})
	// What is made once is there before the count.
	for _, fault := range faults {
		if err := fault(limited(t), listener); err != nil {
			t.Fatal(err)
		}
	}
	goroutines, files := settled(t)
	work := make(chan int)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for i := range work {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				if err := faults[i%len(faults)](ctx, listener); err != nil {
					t.Errorf("cycle %d: %v", i, err)
				}
				cancel()
			}
		})
	}
	for i := range *cycles {
		work <- i
	}
	close(work)
	workers.Wait()
	eventually(t, "goroutines and descriptors are as many as before", func() bool {
		runtime.GC()
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
	eventually(t, "no child is left", noChildren)
}

// settled counts goroutines and descriptors once they do not change.
func settled(t *testing.T) (goroutines, files int) {
	t.Helper()
	eventually(t, "no child is left", noChildren)
	eventually(t, "the count is steady", func() bool {
		wasGoroutines, wasFiles := goroutines, files
		goroutines, files = runtime.NumGoroutine(), descriptors(t)
		return goroutines == wasGoroutines && files == wasFiles
	})
	return goroutines, files
}

// withCall makes a connection, a call on it, and leaves both.
func withCall(ctx context.Context, listener *bufconn.Listener, start *guestpb.ExecStart, use func(*execution, context.CancelFunc) error) (err error) {
	conn, err := dialListener(listener)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := conn.Close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e, err := startExec(ctx, guestpb.NewGuestServiceClient(conn), start)
	if err != nil {
		return err
	}
	return use(e, cancel)
}

func wantEnd(want ending) func(*execution, context.CancelFunc) error {
	return func(e *execution, _ context.CancelFunc) error {
		if err := e.stream.CloseSend(); err != nil {
			return err
		}
		if got := e.end(); got != want {
			return fmt.Errorf("got %+v, want %+v", got, want)
		}
		return nil
	}
}

func wellBehaved(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, sh("cat; exit 3"), wantEnd(ending{code: 3}))
}

func onATerminal(ctx context.Context, l *bufconn.Listener) error {
	start := onTerminal("cat")
	start.Umask = new(uint32(0o77))
	return withCall(ctx, l, start, wantEnd(ending{}))
}

func callCancelled(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, sh("echo started; sleep 1000"), func(e *execution, cancel context.CancelFunc) error {
		if end, last := e.recv(); last {
			return fmt.Errorf("got end %+v", end)
		}
		cancel()
		if end := e.end(); status.Code(end.err) != codes.Canceled {
			return fmt.Errorf("got %+v, want code %v", end, codes.Canceled)
		}
		return nil
	})
}

func connectionClosed(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, onTerminal("/bin/sh", "-c", "echo started; sleep 1000 & cat /dev/zero"), func(e *execution, _ context.CancelFunc) error {
		if end, last := e.recv(); last {
			return fmt.Errorf("got end %+v", end)
		}
		return nil
	})
}

func notStarted(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, onTerminal("/kindling/none"), func(e *execution, _ context.CancelFunc) error {
		if end := e.end(); status.Code(end.err) != codes.Unknown {
			return fmt.Errorf("got %+v, want code %v", end, codes.Unknown)
		}
		return nil
	})
}

func neverHalfClosed(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, sh("exit 4"), func(e *execution, _ context.CancelFunc) error {
		if got := e.end(); got != (ending{code: 4}) {
			return fmt.Errorf("got %+v, want code 4", got)
		}
		return nil
	})
}

func noHTTP(ctx context.Context, l *bufconn.Listener) error {
	conn, err := l.DialContext(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte("CONNECT 2222\n")); err != nil {
		return err
	}
	return conn.Close()
}

func signalled(ctx context.Context, l *bufconn.Listener) error {
	return withCall(ctx, l, sh("kill -15 $$"), wantEnd(ending{code: -1, signal: 15}))
}
