package server

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// execution is a call of Exec from its client's side.
type execution struct {
	stream grpc.BidiStreamingClient[guestpb.ExecRequest, guestpb.ExecResponse]
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// ending is how a call ended: err, or what the last response says.
type ending struct {
	code, signal int32
	timedOut     bool
	err          error
}

func startExec(ctx context.Context, client guestpb.GuestServiceClient, start *guestpb.ExecStart) (*execution, error) {
	stream, err := client.Exec(ctx)
	if err != nil {
		return nil, err
	}
	// A call that is refused at once ends the stream, which Recv tells.
	if err := stream.Send(startRequest(start)); err != nil && err != io.EOF {
		return nil, err
	}
	return &execution{stream: stream}, nil
}

func mustStart(t *testing.T, client guestpb.GuestServiceClient, start *guestpb.ExecStart) *execution {
	t.Helper()
	e, err := startExec(limited(t), client, start)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *execution) send(t *testing.T, requests ...*guestpb.ExecRequest) {
	t.Helper()
	for _, req := range requests {
		// A call that has ended takes no more, and Recv tells how it ended.
		if err := e.stream.Send(req); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
}

func stdin(text string) *guestpb.ExecRequest {
	return &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte(text)}}
}

func resized(rows, cols uint32) *guestpb.ExecRequest {
	return &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Resize{Resize: &guestpb.WindowSize{Rows: rows, Cols: cols}}}
}

// recv takes one response, and tells whether it was the last.
func (e *execution) recv() (end ending, last bool) {
	resp, err := e.stream.Recv()
	if err != nil {
		return ending{err: err}, true
	}
	switch r := resp.Response.(type) {
	case *guestpb.ExecResponse_Stdout:
		e.stdout.Write(r.Stdout)
	case *guestpb.ExecResponse_Stderr:
		e.stderr.Write(r.Stderr)
	case *guestpb.ExecResponse_ExitCode:
		return ending{code: r.ExitCode, signal: resp.Signal, timedOut: resp.TimedOut}, true
	}
	return ending{}, false
}

// await takes responses until standard output has a text.
func (e *execution) await(t *testing.T, text string) {
	t.Helper()
	for !bytes.Contains(e.stdout.Bytes(), []byte(text)) {
		if end, last := e.recv(); last {
			t.Fatalf("got end %+v, output %q, %q, want %q", end, e.stdout.String(), e.stderr.String(), text)
		}
	}
}

// end takes all responses.
func (e *execution) end() ending {
	for {
		if end, last := e.recv(); last {
			return end
		}
	}
}

// eventually waits until a condition holds that nothing tells of.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after 20 seconds still not: %s", what)
		}
	}
}
