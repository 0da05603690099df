package agent

import (
	"context"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// Hello is what an agent says that it is.
type Hello struct {
	// Protocol is the agent protocol's name, as in an artifact set's manifest.
	Protocol string
	// Capabilities are the names of what the agent serves beyond it, sorted.
	Capabilities []string
	// BootID is the guest's /proc/sys/kernel/random/boot_id.
	BootID string
}

// Has tells whether the agent serves what has that name.
func (h *Hello) Has(capability string) bool { return slices.Contains(h.Capabilities, capability) }

// maxCapabilities and maxName bound what an agent may say of itself.
const (
	maxCapabilities = 256
	maxName         = 128 // bytes
)

// Hello asks the agent what it is. One that knows nothing beyond the hypeman
// agent protocol gives ErrUnimplemented.
func (c *Client) Hello(ctx context.Context) (*Hello, error) {
	resp, err := c.agent.Hello(ctx, &guestpb.HelloRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask agent what it is: %w", err)
	}
	if n := len(resp.GetCapabilities()); n > maxCapabilities {
		return nil, fmt.Errorf("ask agent what it is: %w: it has %d capabilities, more than %d", ErrProtocol, n, maxCapabilities)
	}
	hello := &Hello{Protocol: clean(resp.GetProtocol(), maxName), BootID: clean(resp.GetBootId(), maxName)}
	for _, name := range resp.GetCapabilities() {
		hello.Capabilities = append(hello.Capabilities, clean(name, maxName))
	}
	slices.Sort(hello.Capabilities)
	return hello, nil
}

// SignalExec sends a signal to the process group of a command that Exec runs
// under ExecOptions.ID. The code of the error is NotFound if none does.
func (c *Client) SignalExec(ctx context.Context, id string, signal syscall.Signal) error {
	if _, err := c.agent.SignalExec(ctx, &guestpb.SignalExecRequest{ExecId: id, Signal: int32(signal)}); err != nil {
		return fmt.Errorf("signal command: %w", err)
	}
	return nil
}

// Stats are numbers of a guest and of its agent, as the guest claims them. What
// the agent could not find out is nil.
type Stats struct {
	MemoryTotal, MemoryAvailable *uint64 // bytes
	DiskTotal, DiskAvailable     *uint64 // bytes, of /
	Processes                    *uint64
	Uptime                       *time.Duration // of the kernel
	WallClock                    *time.Time
	AgentMemory                  *uint64 // bytes, resident

	ExecsActive, ExecsStarted uint64
	ExecsRejected             uint64 // by a limit
	ConnectionsRejected       uint64 // of others than the host
	Reseeds, ClockSteps       uint64
}

// Stats asks for numbers.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	resp, err := c.agent.Stats(ctx, &guestpb.StatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask agent for numbers: %w", err)
	}
	stats := &Stats{
		MemoryTotal: resp.MemoryTotal, MemoryAvailable: resp.MemoryAvailable,
		DiskTotal: resp.DiskTotal, DiskAvailable: resp.DiskAvailable,
		Processes: resp.Processes, AgentMemory: resp.AgentMemory,
		ExecsActive: resp.GetExecsActive(), ExecsStarted: resp.GetExecsStarted(), ExecsRejected: resp.GetExecsRejected(),
		ConnectionsRejected: resp.GetConnectionsRejected(),
		Reseeds:             resp.GetReseeds(), ClockSteps: resp.GetClockSteps(),
	}
	if resp.UptimeNanos != nil {
		if resp.GetUptimeNanos() > math.MaxInt64 {
			return nil, fmt.Errorf("ask agent for numbers: %w: uptime is %d ns", ErrProtocol, resp.GetUptimeNanos())
		}
		uptime := time.Duration(resp.GetUptimeNanos())
		stats.Uptime = &uptime
	}
	if resp.WallClockNanos != nil {
		clock := time.Unix(0, resp.GetWallClockNanos()).UTC()
		stats.WallClock = &clock
	}
	return stats, nil
}
