// Package server is the gRPC service of the guest agent. It runs commands for
// the host and knows nothing of how the host reaches it: who may connect is
// decided by the listener that it is given.
package server

import (
	"cmp"
	"os"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// Options are what the service takes from its process.
type Options struct {
	// Env is the environment of commands as KEY=value, the later one of equal
	// keys winning.
	Env []string
	// Kill sends a signal to a process, as syscall.Kill does.
	Kill func(pid int, signal syscall.Signal) error
	// Token is what every call but one for health must show; empty is nothing.
	Token string
	// Systemd tells that PID 1 is systemd.
	Systemd bool
	// ShutdownFile is where Shutdown leaves its note; empty is
	// contract.ShutdownFile.
	ShutdownFile string
	// CommandGroup is the cgroup that commands start in; nil is this process's.
	CommandGroup *os.File
	// ResetOOMScore gives commands the oom_score_adj of a usual process, for a
	// process that has another one.
	ResetOOMScore bool
	// MaxExecs bounds the commands at one time; 0 is 256.
	MaxExecs int
	// Refused counts the connections of others than the host; nil is none.
	Refused func() uint64
	// Clock is what SyncClock sets; nil is the machine's, which then nobody else
	// sets at the same time.
	Clock *clock.Clock
}

// New returns a server of the agent protocol. Its Stop ends all commands and
// waits for them.
func New(o Options) *grpc.Server {
	s := grpc.NewServer(append(limits(), grpc.InTapHandle(admit(o.Token)))...)
	service := newService(o)
	guestpb.RegisterGuestServiceServer(s, service)
	guestpb.RegisterAgentServiceServer(s, service)
	healthpb.RegisterHealthServer(s, &health{services: s.GetServiceInfo()})
	return s
}

// service implements both services of the agent protocol.
type service struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	env      []string
	kill     func(pid int, signal syscall.Signal) error
	options  Options
	maxExecs int64
	named    registry
	counters counters
	score    *oomScore // nil if commands are to have this process's
	*copied
}

func newService(o Options) *service {
	o.ShutdownFile = cmp.Or(o.ShutdownFile, contract.ShutdownFile)
	s := &service{env: o.Env, kill: o.Kill, options: o, maxExecs: int64(cmp.Or(o.MaxExecs, maxExecs)), copied: newCopied(o)}
	if o.ResetOOMScore {
		s.score = &oomScore{}
	}
	return s
}

// counters are what Stats tells of the agent itself.
type counters struct {
	execsActive   atomic.Int64
	execsStarted  atomic.Uint64
	execsRejected atomic.Uint64
}
