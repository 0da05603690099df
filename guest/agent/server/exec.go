package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

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

// Exec runs one command, with its output sent as it is written. The command's
// process group is killed when the client goes away or the command's time is
// over; what left the group lives on.
func (s *service) Exec(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil && err != io.EOF {
		return err
	}
	start := first.GetStart() // nil at the end of the stream, too
	if start == nil {
		return status.Error(codes.Unknown, "first message must be ExecStart")
	}
	if start.GetTty() {
		return status.Error(codes.Unimplemented, "exec with a TTY is not served by this agent")
	}
	code, err := s.exec(stream, start)
	if ctxErr := stream.Context().Err(); ctxErr != nil {
		return status.FromContextError(ctxErr).Err()
	}
	if err != nil {
		return err
	}
	return stream.Send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_ExitCode{ExitCode: int32(code)}})
}

// exec runs a command to its end and returns its exit code.
func (s *service) exec(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse], req *guestpb.ExecStart) (code int, err error) {
	cmd, err := command(req, s.env)
	if err != nil {
		return 0, err
	}
	if err := stream.Context().Err(); err != nil {
		return 0, err // nobody waits for the command
	}
	p, err := start(cmd)
	if err != nil {
		return 0, startError(err)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)

	go func() {
		if err := feed(stream, p.stdin); err != nil {
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
func await(ctx context.Context, p *process, timeout <-chan time.Time, relayed <-chan struct{}) (code int, err error) {
	errs := []error{p.err}
	select {
	case <-p.exited:
	case <-timeout:
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
		return 0, errors.Join(append(errs, p.closePipes(), errors.New("end command: killed process did not drain"))...)
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
	code, err = p.reap()
	return code, errors.Join(append(errs, err)...)
}

// feed writes the client's messages to a command's standard input, and closes
// it at the end of the stream. A command that does not read makes the client
// wait.
func feed(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse], stdin *os.File) error {
	open := true
	for {
		req, err := stream.Recv()
		if err != nil {
			break // the client's end, or the call's, which the caller sees itself
		}
		if data := req.GetStdin(); open && len(data) > 0 {
			// Without a reader the rest is received and dropped, so that the client
			// comes to its end.
			_, err := stdin.Write(data)
			open = err == nil
		}
	}
	if err := closeAll(stdin); err != nil {
		return fmt.Errorf("close standard input: %w", err)
	}
	return nil
}
