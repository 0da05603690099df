package agent

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialInterval is the shortest time between two connections. gRPC has such a
// time for attempts that fail only, and a guest may close each that succeeds.
const dialInterval = 5 * time.Millisecond

// wires makes the connections of a client, and has those that are open. Calls of
// gRPC do not go beyond their end.
type wires struct {
	dial func(ctx context.Context) (net.Conn, error)

	mu   sync.Mutex
	last time.Time // when the last connection was begun, or is to be
	open map[*wire]bool
}

type wire struct {
	net.Conn
	wires *wires
}

// connect connects, not too soon after the last time.
func (w *wires) connect(ctx context.Context, _ string) (net.Conn, error) {
	timer := time.NewTimer(w.pause())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	conn, err := w.dial(ctx)
	if err != nil {
		return nil, err
	}
	added := &wire{conn, w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[added] = true
	return added, nil
}

// pause is how long to wait before the next connection.
func (w *wires) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	next := w.last.Add(dialInterval)
	if next.Before(now) {
		next = now
	}
	w.last = next
	return next.Sub(now)
}

// Close is called by gRPC.
func (w *wire) Close() error {
	w.wires.mu.Lock()
	delete(w.wires.open, w)
	w.wires.mu.Unlock()
	return w.Conn.Close()
}

// cut closes what is open.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wire := range w.open {
		_ = wire.Conn.Close() // gRPC's own Close tells the error
	}
}
