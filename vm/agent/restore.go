package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// SyncClock sets the guest's clock to this machine's if it is off by more than
// the threshold; 0 is a second. The offset is that from before, positive if the
// guest was ahead, and includes the time that the call took to arrive.
//
// As all calls for a guest that was restored, an agent without it answers
// codes.Unimplemented.
func (c *Client) SyncClock(ctx context.Context, threshold time.Duration) (offset time.Duration, stepped bool, err error) {
	resp, err := guestpb.NewAgentServiceClient(c.conn).SyncClock(ctx, &guestpb.SyncClockRequest{
		HostUnixNanos:  time.Now().UnixNano(),
		ThresholdNanos: int64(threshold),
	})
	if err != nil {
		return 0, false, fmt.Errorf("sync guest's clock: %w", err)
	}
	return time.Duration(resp.GetOffsetNanos()), resp.GetStepped(), nil
}

// ReseedRandom makes the guest's random numbers depend on a seed: at least 32
// bytes, secret, and another one for each copy of a machine and each restore. It
// returns without an error when the guest's kernel uses it, says the guest.
func (c *Client) ReseedRandom(ctx context.Context, seed []byte) error {
	if _, err := guestpb.NewAgentServiceClient(c.conn).ReseedRandom(ctx, &guestpb.ReseedRandomRequest{Seed: seed}); err != nil {
		return fmt.Errorf("reseed guest's random numbers: %w", err)
	}
	return nil
}

// NetworkIdentity is what tells an interface from others. Empty fields stay as
// they are in the guest.
type NetworkIdentity struct {
	Interface    string // name in the guest; empty is eth0
	MAC          string // as 02:00:00:0a:00:05
	IPv4         string // without prefix length
	PrefixLength int    // in bits, of IPv4
	Gateway      string // of the IPv4 default route
	DNSServers   []string
}

// ReconfigureNetwork gives an interface of the guest another identity. A guest
// that does not have the interface answers codes.NotFound. After an error the
// interface may be down; the call may be made again.
func (c *Client) ReconfigureNetwork(ctx context.Context, identity NetworkIdentity) error {
	if identity.PrefixLength < 0 {
		return fmt.Errorf("reconfigure guest's network: prefix length %d is negative", identity.PrefixLength)
	}
	_, err := c.guest.ReconfigureNetwork(ctx, &guestpb.ReconfigureNetworkRequest{
		InterfaceName: identity.Interface,
		Mac:           identity.MAC,
		Ipv4:          identity.IPv4,
		Prefix:        uint32(identity.PrefixLength),
		Gateway:       identity.Gateway,
		DnsServers:    identity.DNSServers,
	})
	if err != nil {
		return fmt.Errorf("reconfigure guest's network: %w", err)
	}
	return nil
}

// RebindIdentity gives the guest the machine ID of an instance and returns it:
// 32 hexadecimal digits, and always the same for an instance.
func (c *Client) RebindIdentity(ctx context.Context, instanceID string) (machineID string, err error) {
	resp, err := c.guest.RebindIdentity(ctx, &guestpb.RebindIdentityRequest{InstanceId: instanceID})
	if err != nil {
		return "", fmt.Errorf("rebind guest's identity: %w", err)
	}
	if machineID = resp.GetMachineId(); !isMachineID(machineID) {
		return "", fmt.Errorf("rebind guest's identity: got %.64q, want a machine ID", machineID)
	}
	return machineID, nil
}

// isMachineID tells whether a text has the form of machine-id(5).
func isMachineID(text string) bool {
	for _, digit := range []byte(text) {
		if (digit < '0' || digit > '9') && (digit < 'a' || digit > 'f') {
			return false
		}
	}
	return len(text) == 32
}
