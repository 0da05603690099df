// Package clock sets the guest's wall clock by its host's: when a host tells the
// time, and, where the kernel has the host's clock as a device, by itself.
//
// It is no NTP: it only ends the large errors that a restore from a snapshot
// leaves, and otherwise does not touch the clock.
package clock

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Threshold is how far a clock may be off, unless its host says another value.
// The hypeman agent protocol gives it.
const Threshold = time.Second

// Clock is a clock that can be set, by one at a time.
type Clock struct {
	now   func() time.Time
	set   func(time.Time) error
	mu    sync.Mutex
	steps atomic.Uint64
}

// System returns the machine's wall clock.
func System() *Clock { return New(time.Now, setRealtime) }

// New returns a clock that is read and set by functions.
func New(now func() time.Time, set func(time.Time) error) *Clock {
	return &Clock{now: now, set: set}
}

// Sync compares the clock to the host's and sets it if it is off by more than
// the threshold. The offset is that from before, positive if the clock was
// ahead. Without an error, stepped tells that the clock was set.
func (c *Clock) Sync(host time.Time, threshold time.Duration) (offset time.Duration, stepped bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset = c.now().Sub(host)
	if offset.Abs() <= threshold {
		return offset, false, nil
	}
	if err := c.set(host); err != nil {
		return offset, false, fmt.Errorf("set clock: %w", err)
	}
	c.steps.Add(1)
	return offset, true, nil
}

// Steps is how often Sync has set the clock.
func (c *Clock) Steps() uint64 { return c.steps.Load() }

// setRealtime is clock_settime(2) with CLOCK_REALTIME.
func setRealtime(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return errno
	}
	return nil
}
