package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

const (
	// outputGrace is how long a call waits for the end of the output of a command
	// that has ended, since a process that it left behind may keep the pipes.
	outputGrace = 2 * time.Second
	// killGrace is how long a killed command may take to end. Only one that the
	// kernel holds takes longer.
	killGrace = 5 * time.Second
)

type execStream = grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]

// Exec runs one command, with its output sent as it is written. The command's
// process group, on a terminal its session, is killed when the client goes away
// or the command's time is over; what left it lives on. What the command itself
// leaves behind is not killed, and on a terminal hung up.
func (s *service) Exec(stream execStream) error {
	first, err := stream.Recv()
	if err != nil && err != io.EOF {
		return err
	}
	start := first.GetStart() // nil at the end of the stream, too
	if start == nil {
		return status.Error(codes.Unknown, "first message must be ExecStart")
	}
	defer s.counters.execsActive.Add(-1)
	if s.counters.execsActive.Add(1) > s.maxExecs {
		s.counters.execsRejected.Add(1)
		return status.Errorf(codes.ResourceExhausted, "%d commands run already", s.maxExecs)
	}
	ended, err := s.exec(stream, start)
	if ctxErr := stream.Context().Err(); ctxErr != nil {
		return status.FromContextError(ctxErr).Err()
	}
	if err != nil {
		return err
	}
	return stream.Send(ended.response())
}

// outcome is how a command ended.
type outcome struct {
	code     int            // -1 for a signal
	signal   syscall.Signal // that killed it, or 0
	timedOut bool           // it was killed since its time was over
}

func (o outcome) response() *guestpb.ExecResponse {
	return &guestpb.ExecResponse{
		Response: &guestpb.ExecResponse_ExitCode{ExitCode: int32(o.code)},
		Signal:   int32(o.signal),
		TimedOut: o.timedOut,
	}
}

// exec runs a command to its end.
func (s *service) exec(stream execStream, req *guestpb.ExecStart) (outcome, error) {
	plan, err := s.plan(req)
	if err != nil {
		return outcome{}, err
	}
	if err := stream.Context().Err(); err != nil {
		return outcome{}, err // nobody waits for the command
	}
	name := req.GetExecId()
	if name != "" {
		if !s.named.reserve(name) {
			return outcome{}, status.Errorf(codes.AlreadyExists, "command %q runs already", clip(name))
		}
		defer s.named.release(name)
	}
	p, err := start(plan)
	if err != nil {
		return outcome{}, startError(req, err)
	}
	s.counters.execsStarted.Add(1)
	if name != "" {
		s.named.set(name, p)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)

	go func() {
		if err := feed(stream, p); err != nil {
			cancel(err)
		}
	}()
	var sending sync.Mutex // a stream takes one Send at a time
	send := func(resp *guestpb.ExecResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(resp)
	}
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		p.relay(
			func(b []byte) error {
				return send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: b}})
			},
			func(b []byte) error {
				return send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stderr{Stderr: b}})
			},
			cancel)
	}()

	var timeout <-chan time.Time
	if seconds := req.GetTimeoutSeconds(); seconds > 0 {
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timer.Stop()
		timeout = timer.C
	}
	return await(ctx, p, timeout, relayed)
}

// await waits until a command has ended and its output is relayed, kills it if
// the context or its time ends before, and releases it.
func await(ctx context.Context, p *process, timeout <-chan time.Time, relayed <-chan struct{}) (ended outcome, err error) {
	errs := []error{p.err}
	var timedOut bool
	select {
	case <-p.exited:
	case <-timeout:
		timedOut = true
		errs = append(errs, p.kill())
	case <-ctx.Done():
		errs = append(errs, p.kill())
	}
	select {
	case <-p.exited:
	case <-time.After(killGrace):
		go func() { // so that no zombie is left if it ends after all
			<-p.exited
			_, _ = p.reap()
		}()
		errs = append(errs, p.closePipes(), errors.New("end command: killed process did not drain"))
		return outcome{}, errors.Join(errs...)
	}

	errs = append(errs, p.endOutput(outputGrace))
	select {
	case <-relayed:
	case <-ctx.Done():
		// The processes that the command left in its group are not awaited.
		errs = append(errs, p.kill(), p.closePipes())
		<-relayed
	}
	errs = append(errs, context.Cause(ctx), p.closePipes())
	ended, err = p.reap()
	// It can have come to its own end just before.
	ended.timedOut = timedOut && ended.signal == syscall.SIGKILL
	return ended, errors.Join(append(errs, err)...)
}

// feed writes the client's messages to a command's standard input, and ends it
// at the end of the stream. A command that does not read makes the client wait.
func feed(stream execStream, p *process) error {
	open := true
	var last byte // of the input
	for {
		req, err := stream.Recv()
		if err != nil {
			if p.terminal == nil {
				return endPipe(p.stdin)
			}
			if err != io.EOF || !open {
				return nil // the call's end, which hangs the terminal up
			}
			return ignoreClosed(endInput(p.terminal, last))
		}
		if data := req.GetStdin(); open && len(data) > 0 {
			// Without a reader the rest is received and dropped, so that the client
			// comes to its end.
			_, err := p.stdin.Write(data)
			open, last = err == nil, data[len(data)-1]
		}
		if size := req.GetResize(); size != nil && p.terminal != nil {
			if err := ignoreClosed(resize(p.terminal, size)); err != nil {
				return err
			}
		}
	}
}

func endPipe(stdin *os.File) error {
	if err := closeAll(stdin); err != nil {
		return fmt.Errorf("close standard input: %w", err)
	}
	return nil
}

// ignoreClosed takes it for no error that the command has ended.
func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EIO) {
		return nil
	}
	return err
}
