package agent

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// chunkSize bounds the input in one message, in bytes.
const chunkSize = 32 << 10

// ExecOptions says what Exec runs. An agent that knows only the hypeman agent
// protocol runs it without User, Umask, Limits and ID.
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
	// TTY makes the command run on a new terminal; nil is none.
	TTY *TTY
	// User is a name or number in the guest, with :group or without; empty is
	// root.
	User string
	// Umask is that of the command; nil is the agent's.
	Umask *uint32
	// Limits are set for the command, as setrlimit(2) does.
	Limits []ResourceLimit
	// ID names the command to SignalExec. It should be random.
	ID string
	// Stdin is the command's standard input; nil is an empty one, and with a TTY
	// one that does not end. Exec reads ahead of the command. It can return before
	// a Read does, which is not interrupted.
	Stdin io.Reader
	// Stdout and Stderr get the command's output; nil discards it. They may be
	// the same writer. A slow writer slows the command.
	Stdout, Stderr io.Writer
}

// TTY is the terminal of a command, whose output is all stdout.
type TTY struct {
	// Size is the size at the start; 0 is 24 rows, 80 columns.
	Size WindowSize
	// Resize gives new sizes. It may be nil, and need not be closed. Sizes behind
	// the end of Stdin have no effect.
	Resize <-chan WindowSize
}

// WindowSize is the size of a terminal in characters.
type WindowSize struct{ Rows, Cols uint16 }

// ResourceLimit is one limit of setrlimit(2).
type ResourceLimit struct {
	Resource   int    // RLIMIT_* of Linux
	Soft, Hard uint64 // 2^64-1 is no limit
}

// Exec runs a command in the guest and returns how it ended.
//
// A command that could not be started is a StartError. When Exec returns early,
// by the context or since a reader or writer failed, the guest kills the command
// and the exit code is -1 beside the error. ErrLost leaves open what became of
// the command.
func (c *Client) Exec(ctx context.Context, o ExecOptions) (ExitStatus, error) {
	start, err := o.start()
	if err != nil {
		return ExitStatus{Code: -1}, fmt.Errorf("exec in guest: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // which also ends the call
	exit, err := c.exec(ctx, cancel, start, o)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the status only tells that the call was cancelled
	}
	if err != nil {
		return ExitStatus{Code: -1}, fmt.Errorf("exec in guest: %w", startError(err))
	}
	return exit, nil
}

func (o *ExecOptions) start() (*guestpb.ExecStart, error) {
	if o.Timeout < 0 {
		return nil, fmt.Errorf("timeout %v is negative", o.Timeout)
	}
	timeout := seconds(o.Timeout)
	if timeout > math.MaxInt32 {
		return nil, fmt.Errorf("timeout %v is more than %d seconds", o.Timeout, math.MaxInt32)
	}
	start := &guestpb.ExecStart{
		Command:        o.Command,
		Env:            o.Env,
		Cwd:            o.Dir,
		TimeoutSeconds: int32(timeout),
		User:           o.User,
		Umask:          o.Umask,
		ExecId:         o.ID,
	}
	for _, limit := range o.Limits {
		if limit.Resource < 0 || limit.Resource > math.MaxInt32 {
			return nil, fmt.Errorf("resource %d is out of range", limit.Resource)
		}
		start.Rlimits = append(start.Rlimits, &guestpb.ResourceLimit{Resource: uint32(limit.Resource), Soft: limit.Soft, Hard: limit.Hard})
	}
	if o.TTY != nil {
		start.Tty = true
		start.Rows, start.Cols = uint32(o.TTY.Size.Rows), uint32(o.TTY.Size.Cols)
	}
	return start, nil
}

func (c *Client) exec(ctx context.Context, cancel context.CancelCauseFunc, start *guestpb.ExecStart, o ExecOptions) (ExitStatus, error) {
	stream, err := c.guest.Exec(ctx)
	if err != nil {
		return ExitStatus{}, err
	}
	in := &input{stream: stream}
	err = in.send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Start{Start: start}})
	if err != nil && err != io.EOF {
		return ExitStatus{}, err
	}
	run := func(f func() error) {
		if err := f(); err != nil {
			cancel(err)
		}
	}
	switch {
	case o.Stdin != nil:
		go run(func() error { return in.feed(o.Stdin) })
	case o.TTY == nil:
		if err := in.end(); err != nil {
			return ExitStatus{}, err
		}
	}
	if o.TTY != nil && o.TTY.Resize != nil {
		go run(func() error { return in.resize(ctx, o.TTY.Resize) })
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return ExitStatus{}, ErrNoExitCode
		}
		if err != nil {
			return ExitStatus{}, err
		}
		switch content := resp.GetResponse().(type) {
		case *guestpb.ExecResponse_Stdout:
			err = write(o.Stdout, "stdout", content.Stdout)
		case *guestpb.ExecResponse_Stderr:
			err = write(o.Stderr, "stderr", content.Stderr)
		case *guestpb.ExecResponse_ExitCode:
			// By contract the last message: what a guest sends behind it is not
			// waited for.
			return exitStatus(resp)
		}
		if err != nil {
			return ExitStatus{}, err
		}
	}
}

// input is the sending side of a call. A stream takes one Send at a time, and
// none behind its end.
type input struct {
	stream grpc.BidiStreamingClient[guestpb.ExecRequest, guestpb.ExecResponse]
	mu     sync.Mutex
	ended  bool
}

// send sends a message, or gives io.EOF if the call has ended: then Recv tells
// how.
func (in *input) send(req *guestpb.ExecRequest) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return io.EOF
	}
	return in.stream.Send(req)
}

// end ends the input.
func (in *input) end() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	return in.stream.CloseSend()
}

// feed sends what r gives, and the end of it.
func (in *input) feed(r io.Reader) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := in.send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: buf[:n]}}); err == io.EOF {
				return nil
			} else if err != nil {
				return fmt.Errorf("send stdin: %w", err)
			}
		}
		if err == io.EOF {
			return in.end()
		}
		if err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
	}
}

// resize sends sizes until the call or their channel ends.
func (in *input) resize(ctx context.Context, sizes <-chan WindowSize) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case size, ok := <-sizes:
			if !ok {
				return nil
			}
			resize := &guestpb.WindowSize{Rows: uint32(size.Rows), Cols: uint32(size.Cols)}
			if err := in.send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Resize{Resize: resize}}); err == io.EOF {
				return nil
			} else if err != nil {
				return fmt.Errorf("send terminal size: %w", err)
			}
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
