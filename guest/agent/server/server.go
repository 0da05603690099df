// Package server is the gRPC service of the guest agent. It runs commands for
// the host and knows nothing of how the host reaches it: who may connect is
// decided by the listener that it is given.
package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

const (
	// maxStreams bounds the calls at one time on a connection. The hypeman agent
	// protocol knows no bound, so calls above it wait instead of failing.
	maxStreams = 256
	// maxMessage is gRPC's default, in bytes, which hosts rely on.
	maxMessage = 4 << 20
	// maxHeaders bounds a call's metadata, in bytes.
	maxHeaders = 64 << 10
	// streamWindow is how many bytes a call may send before they are consumed.
	// Left to itself, gRPC grows it to 16 MiB a call.
	streamWindow = 128 << 10
	connWindow   = 1 << 20
	// handshakeTime bounds the HTTP/2 handshake.
	handshakeTime = 5 * time.Second
)

// maxSignal is the highest signal number of Linux, SIGRTMAX of signal(7).
const maxSignal = 64

// Options are what the service takes from its process.
type Options struct {
	// Env is the environment of commands as KEY=value, the later one of equal
	// keys winning.
	Env []string
	// Kill sends a signal to a process, as syscall.Kill does.
	Kill func(pid int, signal syscall.Signal) error
}

// New returns a server of the hypeman agent protocol. Its Stop ends all
// commands and waits for them.
func New(o Options) *grpc.Server {
	s := grpc.NewServer(
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.WaitForHandlers(true),
	)
	service := &service{env: o.Env, kill: o.Kill}
	guestpb.RegisterGuestServiceServer(s, service)
	guestpb.RegisterAgentServiceServer(s, service)
	return s
}

// service implements both services of the agent protocol.
type service struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	env      []string
	kill     func(pid int, signal syscall.Signal) error
	counters counters
}

// counters are what Stats tells of the agent itself.
type counters struct {
	execsActive   atomic.Int64
	execsStarted  atomic.Uint64
	execsRejected atomic.Uint64
	reseeds       atomic.Uint64
	clockSteps    atomic.Uint64
}

// Shutdown sends a signal to PID 1 and does not wait for its effect.
func (s *service) Shutdown(_ context.Context, req *guestpb.ShutdownRequest) (*guestpb.ShutdownResponse, error) {
	signal := syscall.Signal(req.GetSignal())
	if signal == 0 {
		signal = syscall.SIGTERM
	}
	if signal < 1 || signal > maxSignal {
		return nil, status.Errorf(codes.InvalidArgument, "signal %d is not from 0 to %d", signal, maxSignal)
	}
	if err := s.kill(1, signal); err != nil {
		return nil, fmt.Errorf("signal init: %w", err)
	}
	return &guestpb.ShutdownResponse{}, nil
}
