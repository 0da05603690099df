package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// restoredGuest answers what a test wants of a guest and keeps what it is asked.
type restoredGuest struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	got       proto.Message
	clock     *guestpb.SyncClockResponse
	machineID string
	err       error
}

func (g *restoredGuest) SyncClock(_ context.Context, req *guestpb.SyncClockRequest) (*guestpb.SyncClockResponse, error) {
	g.got = req
	return g.clock, g.err
}

func (g *restoredGuest) ReseedRandom(_ context.Context, req *guestpb.ReseedRandomRequest) (*guestpb.ReseedRandomResponse, error) {
	g.got = req
	return &guestpb.ReseedRandomResponse{}, g.err
}

func (g *restoredGuest) ReconfigureNetwork(_ context.Context, req *guestpb.ReconfigureNetworkRequest) (*guestpb.ReconfigureNetworkResponse, error) {
	g.got = req
	return &guestpb.ReconfigureNetworkResponse{}, g.err
}

func (g *restoredGuest) RebindIdentity(_ context.Context, req *guestpb.RebindIdentityRequest) (*guestpb.RebindIdentityResponse, error) {
	g.got = req
	return &guestpb.RebindIdentityResponse{MachineId: g.machineID}, g.err
}

func (g *restoredGuest) serve(t *testing.T) *agent.Client {
	t.Helper()
	s := grpc.NewServer()
	guestpb.RegisterGuestServiceServer(s, g)
	guestpb.RegisterAgentServiceServer(s, g)
	return newClient(t, serve(t, s))
}

func TestSyncClock(t *testing.T) {
	t.Parallel()
	guest := &restoredGuest{clock: &guestpb.SyncClockResponse{OffsetNanos: -5e9, Stepped: true}}
	c := guest.serve(t)
	before := time.Now().UnixNano()
	offset, stepped, err := c.SyncClock(limited(t), 3*time.Second)
	if offset != -5*time.Second || !stepped || err != nil {
		t.Errorf("got offset %v, stepped %v, %v, want -5s, true", offset, stepped, err)
	}
	req := guest.got.(*guestpb.SyncClockRequest)
	if at := req.GetHostUnixNanos(); at < before || at > time.Now().UnixNano() || req.GetThresholdNanos() != 3e9 {
		t.Errorf("got request %v, want this machine's time and 3s", req)
	}
}

func TestReseedRandom(t *testing.T) {
	t.Parallel()
	guest := &restoredGuest{}
	if err := guest.serve(t).ReseedRandom(limited(t), []byte("seed")); err != nil {
		t.Fatal(err)
	}
	if want := (&guestpb.ReseedRandomRequest{Seed: []byte("seed")}); !proto.Equal(guest.got, want) {
		t.Errorf("got request %v, want %v", guest.got, want)
	}
}

func TestReconfigureNetwork(t *testing.T) {
	t.Parallel()
	guest := &restoredGuest{}
	c := guest.serve(t)
	identity := agent.NetworkIdentity{
		Interface: "eth1", MAC: "02:00:00:00:00:01", IPv4: "10.0.0.2", PrefixLength: 24, Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.3", "10.0.0.4"},
	}
	if err := c.ReconfigureNetwork(limited(t), identity); err != nil {
		t.Fatal(err)
	}
	want := &guestpb.ReconfigureNetworkRequest{
		InterfaceName: "eth1", Mac: "02:00:00:00:00:01", Ipv4: "10.0.0.2", Prefix: 24, Gateway: "10.0.0.1", DnsServers: []string{"10.0.0.3", "10.0.0.4"},
	}
	if !proto.Equal(guest.got, want) {
		t.Errorf("got request %v, want %v", guest.got, want)
	}
	err := c.ReconfigureNetwork(limited(t), agent.NetworkIdentity{PrefixLength: -1})
	if want := "reconfigure guest's network: prefix length -1 is negative"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestRebindIdentity(t *testing.T) {
	t.Parallel()
	const id = "fc3b0b85e2184759b56c4bf34b7ec065"
	guest := &restoredGuest{}
	c := guest.serve(t)
	for _, answer := range []string{id, "", id[1:], id + "0", strings.ToUpper(id), strings.Repeat("/", 32), strings.Repeat("x", 1<<20)} {
		guest.machineID = answer
		got, err := c.RebindIdentity(limited(t), "an instance")
		if answer == id && (got != id || err != nil) {
			t.Errorf("got %q, %v, want %s", got, err, id)
		}
		if answer != id && (got != "" || err == nil || len(err.Error()) > 300) {
			t.Errorf("guest that answers %.40q: got %q, %v, want a short error", answer, got, err)
		}
	}
	if want := (&guestpb.RebindIdentityRequest{InstanceId: "an instance"}); !proto.Equal(guest.got, want) {
		t.Errorf("got request %v, want %v", guest.got, want)
	}
}

// TestRestoreCallsFail checks that callers can tell an agent without a call from
// one whose call failed, and that no failure reads as success.
func TestRestoreCallsFail(t *testing.T) {
	t.Parallel()
	calls := []struct {
		name string
		call func(c *agent.Client) error
	}{
		{"sync guest's clock: ", func(c *agent.Client) error {
			offset, stepped, err := c.SyncClock(limited(t), 0)
			if offset != 0 || stepped {
				t.Errorf("got offset %v, stepped %v of a call that failed", offset, stepped)
			}
			return err
		}},
		{"reseed guest's random numbers: ", func(c *agent.Client) error { return c.ReseedRandom(limited(t), make([]byte, 32)) }},
		{"reconfigure guest's network: ", func(c *agent.Client) error {
			return c.ReconfigureNetwork(limited(t), agent.NetworkIdentity{})
		}},
		{"rebind guest's identity: ", func(c *agent.Client) error {
			_, err := c.RebindIdentity(limited(t), "i")
			return err
		}},
	}
	for _, code := range []codes.Code{codes.Unimplemented, codes.NotFound, codes.Unknown} {
		c := (&restoredGuest{err: status.Error(code, "why")}).serve(t)
		for _, call := range calls {
			if err := call.call(c); status.Code(err) != code || !strings.HasPrefix(err.Error(), call.name) {
				t.Errorf("%v: got error %v, want %s", code, err, call.name)
			}
		}
	}
}
