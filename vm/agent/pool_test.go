package agent_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kindling-vm/kindling/vm/agent"
)

func TestPool(t *testing.T) {
	t.Parallel()
	guest := serveAgent(t)
	var connections atomic.Int64
	socket := serveConns(t, func(conn net.Conn) {
		connections.Add(1)
		if err := bridge(conn, guest); err != nil {
			t.Errorf("bridge: %v", err)
		}
	})
	var pool agent.Pool
	keep, release, err := pool.Get(socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			c, release, err := pool.Get(socket)
			if err != nil {
				t.Error(err)
				return
			}
			if c != keep {
				t.Error("got another client for the same socket")
			}
			if exit, err := c.Exec(limited(t), agent.ExecOptions{Command: []string{"true"}}); !exit.Success() || err != nil {
				t.Errorf("got %v, %v", exit, err)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := connections.Load(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
	other, releaseOther, err := pool.Get(socket, agent.WithToken("t"))
	if err != nil || other == keep {
		t.Errorf("with a token: got %v, %v, want another client", other, err)
	}
	for _, release := range []func() error{release, releaseOther} {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	again, release, err := pool.Get(socket)
	if err != nil || again == keep {
		t.Errorf("after the last release: got %v, %v, want a new client", again, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, _, err := pool.Get(socket, agent.WithToken("a\nb")); err == nil {
		t.Error("token with a line end: got no error")
	}
}
