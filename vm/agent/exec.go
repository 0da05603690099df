package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// chunkSize bounds the input in one message, in bytes.
const chunkSize = 32 << 10

// ErrNoExitCode tells that an agent ended a call in good order but without an
// exit code, so that nobody knows how the command ended.
var ErrNoExitCode = errors.New("agent sent no exit code")

// ExecOptions says what Exec runs.
type ExecOptions struct {
	// Command is the argument vector. Without one, the guest runs its /bin/sh.
	Command []string
	// Env is added to the agent's environment and replaces equal names. Its PATH,
	// if it has one, is where the command is looked up.
	Env map[string]string
	// Dir is the working directory; if empty, that of the agent.
	Dir string
	// Timeout is how long the command may run; 0 is for ever. The guest counts
	// in seconds, so fractions are rounded up.
	Timeout time.Duration
	// Stdin is the command's standard input; nil is an empty one. Exec reads
	// ahead of the command. It can return before a Read does, which is not
	// interrupted.
	Stdin io.Reader
	// Stdout and Stderr get the command's output; nil discards it. They may be
	// the same writer. A slow writer slows the command.
	Stdout, Stderr io.Writer
}

// Exec runs a command in the guest and returns its exit code, which is -1 if a
// signal or the timeout killed it. The code is what the guest claims.
//
// A command that could not be started is an error. When Exec returns early, by
// the context or since a reader or writer failed, the guest kills the command
// and the exit code is -1 too.
func (c *Client) Exec(ctx context.Context, o ExecOptions) (exitCode int, err error) {
	start, err := o.start()
	if err != nil {
		return -1, fmt.Errorf("exec in guest: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // which also ends the call
	exitCode, err = c.exec(ctx, cancel, start, o)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the status only tells that the call was cancelled
	}
	if err != nil {
		return -1, fmt.Errorf("exec in guest: %w", err)
	}
	return exitCode, nil
}

func (o *ExecOptions) start() (*guestpb.ExecStart, error) {
	if o.Timeout < 0 {
		return nil, fmt.Errorf("timeout %v is negative", o.Timeout)
	}
	seconds := o.Timeout / time.Second
	if o.Timeout%time.Second > 0 {
		seconds++
	}
	if seconds > math.MaxInt32 {
		return nil, fmt.Errorf("timeout %v is more than %d seconds", o.Timeout, math.MaxInt32)
	}
	return &guestpb.ExecStart{
		Command:        o.Command,
		Env:            o.Env,
		Cwd:            o.Dir,
		TimeoutSeconds: int32(seconds),
	}, nil
}

func (c *Client) exec(ctx context.Context, cancel context.CancelCauseFunc, start *guestpb.ExecStart, o ExecOptions) (int, error) {
	stream, err := c.guest.Exec(ctx)
	if err != nil {
		return 0, err
	}
	// A Send that fails with io.EOF leaves the reason to Recv.
	err = stream.Send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Start{Start: start}})
	if err != nil && err != io.EOF {
		return 0, err
	}
	if o.Stdin == nil {
		if err := stream.CloseSend(); err != nil {
			return 0, err
		}
	} else {
		go func() {
			if err := feed(stream, o.Stdin); err != nil {
				cancel(err)
			}
		}()
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return 0, ErrNoExitCode
		}
		if err != nil {
			return 0, err
		}
		switch resp := resp.GetResponse().(type) {
		case *guestpb.ExecResponse_Stdout:
			err = write(o.Stdout, "stdout", resp.Stdout)
		case *guestpb.ExecResponse_Stderr:
			err = write(o.Stderr, "stderr", resp.Stderr)
		case *guestpb.ExecResponse_ExitCode:
			// By contract the last message: what a guest sends behind it is not
			// waited for.
			return int(resp.ExitCode), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// feed sends what r gives, and the end of it.
func feed(stream grpc.BidiStreamingClient[guestpb.ExecRequest, guestpb.ExecResponse], r io.Reader) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			req := &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: buf[:n]}}
			if err := stream.Send(req); err == io.EOF {
				return nil // the call has ended, and Recv tells how
			} else if err != nil {
				return fmt.Errorf("send stdin: %w", err)
			}
		}
		if err == io.EOF {
			return stream.CloseSend()
		}
		if err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
	}
}

func write(w io.Writer, name string, data []byte) error {
	if w == nil {
		return nil
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
