package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// attempts that gain nothing are made at a reference's own registry; a mirror
	// gets one.
	attempts = 5
	// gain is how many bytes make an attempt worth another one.
	gain = 64 << 10
	// stallTime is how long a server may take to send stallBytes, and to answer at
	// all.
	stallTime  = 30 * time.Second
	stallBytes = 16 << 10
	// maxRetryAfter bounds what a server may ask to wait.
	maxRetryAfter = 2 * time.Minute
)

var errStalled = errors.New("server stalls")

// stallGuard ends a context when too little comes for too long.
type stallGuard struct {
	count atomic.Int64 // bytes since the last look
	stop  func()
}

func guardAgainstStall(ctx context.Context, clock clock) (context.Context, *stallGuard) {
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

// attempt is one try at one source. It gives how much it has now of what it is
// after.
type attempt func(ctx context.Context, s *source, guard *stallGuard) (have int64, err error)

// fromAny tries the sources in their order.
func (p *puller) fromAny(ctx context.Context, try attempt) error {
	var failures []error
	for i, s := range p.sources {
		last := i == len(p.sources)-1
		if s.isBroken() && !last {
			continue
		}
		most := 1
		if last {
			most = attempts
		}
		err := p.fromOne(ctx, s, most, try)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, ok := errors.AsType[localError](err); ok {
			return err
		}
		// A mirror need not have everything.
		if !isStatus(err, http.StatusNotFound) {
			s.setBroken()
		}
		failures = append(failures, fmt.Errorf("%s: %w", s.repo, err))
	}
	return errors.Join(failures...)
}

// fromOne tries one source again for as long as that may help.
func (p *puller) fromOne(ctx context.Context, s *source, most int, try attempt) error {
	best := int64(0)
	for count := 1; ; count++ {
		have, err := p.guarded(ctx, s, try)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if _, ok := errors.AsType[permanentError](err); ok {
			return err
		}
		if _, ok := errors.AsType[localError](err); ok {
			return err
		}
		if have >= best+gain {
			best, count = have, 0
		}
		if count >= most {
			return fmt.Errorf("%d attempts without a gain: %w", count, err)
		}
		wait, err := p.waitBefore(count+1, err)
		if err != nil {
			return err
		}
		if err := p.clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (p *puller) guarded(ctx context.Context, s *source, try attempt) (have int64, err error) {
	ctx, guard := guardAgainstStall(ctx, p.clock)
	defer guard.stop()
	have, err = try(ctx, s, guard)
	// The transport's own error only says that the context ended.
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		err = cause
	}
	return have, err
}

// waitBefore says how long to wait after an attempt that ended with an error.
func (p *puller) waitBefore(attempt int, cause error) (time.Duration, error) {
	wait := time.Second << max(0, attempt-2)
	if status, ok := errors.AsType[*statusError](cause); ok {
		asked := parseRetryAfter(status.retryAfter, p.clock.Now())
		if asked > maxRetryAfter {
			return 0, fmt.Errorf("%w, and to come again in %v, which is more than %v", cause, asked, maxRetryAfter)
		}
		wait = max(wait, asked)
	}
	return wait, nil
}
