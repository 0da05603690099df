package agent_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// talker is an agent that says of itself what a test has it say.
type talker struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	hello    *guestpb.HelloResponse
	stats    *guestpb.StatsResponse
	shutdown *guestpb.ShutdownRequest // what came
}

func (a *talker) Hello(context.Context, *guestpb.HelloRequest) (*guestpb.HelloResponse, error) {
	return a.hello, nil
}

func (a *talker) Stats(context.Context, *guestpb.StatsRequest) (*guestpb.StatsResponse, error) {
	return a.stats, nil
}

func (a *talker) Shutdown(ctx context.Context, req *guestpb.ShutdownRequest) (*guestpb.ShutdownResponse, error) {
	if shown, _ := metadata.FromIncomingContext(ctx); strings.Join(shown["authorization"], ",") != "Bearer s3cret" {
		return nil, status.Errorf(codes.Unauthenticated, "got %q", shown["authorization"])
	}
	a.shutdown = req
	return &guestpb.ShutdownResponse{}, nil
}

func (a *talker) serve(t *testing.T) (socket string) {
	t.Helper()
	s := grpc.NewServer()
	guestpb.RegisterGuestServiceServer(s, a)
	guestpb.RegisterAgentServiceServer(s, a)
	return serve(t, s)
}

func TestHello(t *testing.T) {
	t.Parallel()
	a := &talker{hello: &guestpb.HelloResponse{
		Protocol: "p\x1b[31m", Capabilities: []string{"b", "a\n", strings.Repeat("c", 1000)}, BootId: "id",
	}}
	c := newClient(t, a.serve(t))
	got, err := c.Hello(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &agent.Hello{Protocol: "p\ufffd[31m", Capabilities: []string{"a\ufffd", "b", strings.Repeat("c", 128) + "..."}, BootID: "id"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !got.Has("b") || got.Has("c") {
		t.Errorf("has %v, %v, want b only", got.Has("b"), got.Has("c"))
	}
	a.hello = &guestpb.HelloResponse{Capabilities: make([]string, 100_000)}
	if _, err := c.Hello(limited(t)); !errors.Is(err, agent.ErrProtocol) {
		t.Errorf("many capabilities: got error %v, want %v", err, agent.ErrProtocol)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	total, uptime, clock := uint64(math.MaxUint64), uint64(5), int64(-1)
	a := &talker{stats: &guestpb.StatsResponse{MemoryTotal: &total, UptimeNanos: &uptime, WallClockNanos: &clock, ExecsActive: 3}}
	c := newClient(t, a.serve(t))
	got, err := c.Stats(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	wantUptime, wantClock := time.Duration(5), time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC)
	if diff := cmp.Diff(&agent.Stats{MemoryTotal: &total, Uptime: &wantUptime, WallClock: &wantClock, ExecsActive: 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a.stats = &guestpb.StatsResponse{UptimeNanos: &total}
	if _, err := c.Stats(limited(t)); !errors.Is(err, agent.ErrProtocol) {
		t.Errorf("long uptime: got error %v, want %v", err, agent.ErrProtocol)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	a := &talker{}
	socket := a.serve(t)
	err := newClient(t, socket).Shutdown(limited(t), agent.ShutdownOptions{})
	if !errors.Is(err, agent.ErrUnauthenticated) {
		t.Errorf("without a token: got error %v, want %v", err, agent.ErrUnauthenticated)
	}
	c := newClient(t, socket, agent.WithToken("s3cret"))
	if err := c.Shutdown(limited(t), agent.ShutdownOptions{Signal: 2, Grace: time.Second + 1, Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if got := a.shutdown; got.GetSignal() != 2 || got.GetGraceSeconds() != 2 || got.GetReason() != "r" {
		t.Errorf("got %v, want signal 2, 2 seconds and the reason", got)
	}
	for _, grace := range []time.Duration{-1, math.MaxInt64} {
		if err := c.Shutdown(limited(t), agent.ShutdownOptions{Grace: grace}); err == nil {
			t.Errorf("grace time %d: got no error", grace)
		}
	}
	for _, token := range []string{"a b", "a\n", "\x00", "ä"} {
		_, err := agent.NewHybridClient("/none", agent.WithToken(token))
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("token %q: got error %v, want one without the token", token, err)
		}
	}
}
