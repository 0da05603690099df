package server

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// registry has the commands that have a name. The zero value is ready for use.
type registry struct {
	mu        sync.Mutex
	processes map[string]*process // nil for one that has not started
}

// reserve takes a name, and tells whether it was free.
func (r *registry) reserve(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.processes[name]; taken {
		return false
	}
	if r.processes == nil {
		r.processes = map[string]*process{}
	}
	r.processes[name] = nil
	return true
}

func (r *registry) set(name string, p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes[name] = p
}

func (r *registry) release(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.processes, name)
}

func (r *registry) get(name string) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.processes[name]
}

// SignalExec sends a signal to the process group of a command that runs.
func (s *service) SignalExec(_ context.Context, req *guestpb.SignalExecRequest) (*guestpb.SignalExecResponse, error) {
	signal := syscall.Signal(req.GetSignal())
	if signal < 1 || signal > maxSignal {
		return nil, status.Errorf(codes.InvalidArgument, "signal %d is not from 1 to %d", signal, maxSignal)
	}
	p := s.named.get(req.GetExecId())
	if p == nil {
		return nil, status.Errorf(codes.NotFound, "command %q does not run", clip(req.GetExecId()))
	}
	err := p.signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		return nil, status.Errorf(codes.NotFound, "command %q does not run", clip(req.GetExecId()))
	}
	if err != nil {
		return nil, status.Errorf(codes.Unknown, "signal command %q: %v", clip(req.GetExecId()), err)
	}
	return &guestpb.SignalExecResponse{}, nil
}
