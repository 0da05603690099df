package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Clock is the time as downloads need it.
type Clock interface {
	Now() time.Time
	// Sleep ends early with the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errStalled = errors.New("server stalls")

// stallGuard ends a context when too little comes for too long.
type stallGuard struct {
	count atomic.Int64 // bytes since the last look
	stop  func()
}

func guardAgainstStall(ctx context.Context, clock Clock) (context.Context, *stallGuard) {
	ctx, cancel := context.WithCancelCause(ctx)
	guard := &stallGuard{stop: func() { cancel(nil) }}
	go func() {
		for clock.Sleep(ctx, stallTime) == nil {
			if got := guard.count.Swap(0); got < stallBytes {
				cancel(fmt.Errorf("%w: it sent %d bytes in %v, want at least %d", errStalled, got, stallTime, stallBytes))
			}
		}
	}()
	return ctx, guard
}

func (g *stallGuard) received(n int) { g.count.Add(int64(n)) }
