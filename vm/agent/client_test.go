package agent_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// TestWaitReady starts to wait before there is an agent.
func TestWaitReady(t *testing.T) {
	t.Parallel()
	var socket atomic.Pointer[string]
	tried := make(chan struct{}, 1)
	c, err := agent.NewClient(func(ctx context.Context) (net.Conn, error) {
		name := socket.Load()
		if name == nil {
			select {
			case tried <- struct{}{}:
			default:
			}
			return nil, syscall.ECONNREFUSED
		}
		return (&net.Dialer{}).DialContext(ctx, "unix", *name)
	})
	closing(t, c, err)
	ready := make(chan error, 1)
	go func() { ready <- c.WaitReady(limited(t)) }()
	<-tried
	name := serveAgent(t)
	socket.Store(&name)
	if err := <-ready; err != nil {
		t.Error(err)
	}
}

// answering is an agent whose answers are always the same error.
type answering struct {
	guestpb.UnimplementedGuestServiceServer
	err error
}

func (a answering) StatPath(context.Context, *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	return &guestpb.StatPathResponse{}, a.err
}

func TestWaitReadyAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer error
		want   codes.Code
	}{
		{"found", nil, codes.OK},
		{"old agent", status.Error(codes.Unimplemented, "x"), codes.OK},
		{"failure", status.Error(codes.Internal, "x"), codes.Internal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := grpc.NewServer()
			guestpb.RegisterGuestServiceServer(s, answering{err: test.answer})
			err := newClient(t, serve(t, s)).WaitReady(limited(t))
			if got := status.Code(err); got != test.want {
				t.Errorf("got error %v, want code %v", err, test.want)
			}
		})
	}
}

func TestWaitReadyEnds(t *testing.T) {
	t.Parallel()
	t.Run("by the context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := agent.NewClient(func(context.Context) (net.Conn, error) {
			cancel()
			return nil, syscall.ECONNREFUSED
		})
		err = closing(t, c, err).WaitReady(ctx)
		if status.Code(err) != codes.Canceled || !strings.HasPrefix(err.Error(), "wait for agent: ") {
			t.Errorf("got error %v, want code %v", err, codes.Canceled)
		}
	})
	t.Run("by the context between attempts", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := grpc.NewServer()
		guestpb.RegisterGuestServiceServer(s, unavailable{cancel: cancel})
		err := newClient(t, serve(t, s)).WaitReady(ctx)
		if code := status.Code(err); !errors.Is(err, context.Canceled) && code != codes.Canceled {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("by Close", func(t *testing.T) {
		c := newClient(t, "/kindling/none")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitReady(limited(t)); status.Code(err) != codes.Canceled {
			t.Errorf("got error %v, want code %v", err, codes.Canceled)
		}
	})
}

// unavailable is an agent that never can answer.
type unavailable struct {
	guestpb.UnimplementedGuestServiceServer
	cancel func()
}

func (u unavailable) StatPath(context.Context, *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	u.cancel()
	return nil, status.Error(codes.Unavailable, "x")
}

func TestExecWithoutAgent(t *testing.T) {
	t.Parallel()
	code, err := exitCode(newClient(t, "/kindling/none").Exec(limited(t), agent.ExecOptions{}))
	if code != -1 || !errors.Is(err, agent.ErrUnavailable) || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %d, %v, want -1, %v with the reason", code, err, agent.ErrUnavailable)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	type call struct {
		pid    int
		signal syscall.Signal
	}
	calls := make(chan call, 1)
	c := newClient(t, serve(t, server.New(server.Options{Kill: func(pid int, signal syscall.Signal) error {
		calls <- call{pid, signal}
		return nil
	}})))
	if err := c.Shutdown(limited(t), agent.ShutdownOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := <-calls, (call{1, syscall.SIGTERM}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := c.Shutdown(limited(t), agent.ShutdownOptions{Signal: 65}); status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(err.Error(), "shut down guest: ") {
		t.Errorf("got error %v, want code %v", err, codes.InvalidArgument)
	}
}

// TestReconnect has a hypervisor that drops all connections under a running
// command, as it does when the guest is restored.
func TestReconnect(t *testing.T) {
	t.Parallel()
	h := serveHybrid(t, serveAgent(t))
	c := newHybridClient(t, h.socket)
	for range 20 {
		if err := c.WaitReady(limited(t)); err != nil {
			t.Fatal(err)
		}
		w := &watcher{t: t, then: func() { h.drop(t) }}
		code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{Command: sh(family), Stdout: w}))
		if code != -1 || !errors.Is(err, agent.ErrLost) {
			t.Errorf("got %d, %v, want -1, %v", code, err, agent.ErrLost)
		}
		w.requireEnd(2)
	}
}
