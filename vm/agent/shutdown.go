package agent

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// ShutdownOptions says how the guest is to stop. The zero value is what every
// agent knows.
type ShutdownOptions struct {
	// Signal goes to the guest's PID 1; 0 is the agent's choice, which is SIGTERM,
	// or what makes systemd power off.
	Signal syscall.Signal
	// Grace is how long processes may take to end before they are killed, rounded
	// up to seconds; 0 is init's own time. Old agents know only that.
	Grace time.Duration
	// Reason is for the guest's log. Old agents do not log it.
	Reason string
}

// Shutdown asks the guest to stop. It does not wait until it has.
func (c *Client) Shutdown(ctx context.Context, o ShutdownOptions) error {
	grace := seconds(o.Grace)
	if o.Grace < 0 || grace > math.MaxUint32 {
		return fmt.Errorf("shut down guest: grace time %v is out of range", o.Grace)
	}
	_, err := c.guest.Shutdown(ctx, &guestpb.ShutdownRequest{
		Signal:       int32(o.Signal),
		GraceSeconds: uint32(grace),
		Reason:       o.Reason,
	})
	if err != nil {
		return fmt.Errorf("shut down guest: %w", err)
	}
	return nil
}
