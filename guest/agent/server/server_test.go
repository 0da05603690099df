package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// dial serves in memory.
func dial(t *testing.T, o Options) guestpb.GuestServiceClient {
	t.Helper()
	return guestpb.NewGuestServiceClient(connect(t, o))
}

func connect(t *testing.T, o Options, dialOptions ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener := serveInMemory(t, o)
	conn, err := dialListener(listener, dialOptions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func dialListener(listener *bufconn.Listener, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///vsock", append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
}

// serveInMemory serves until the test's end.
func serveInMemory(t *testing.T, o Options) *bufconn.Listener {
	t.Helper()
	s := New(o)
	listener := bufconn.Listen(64 << 10)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener
}

// limited is the test's context with a limit, so that what hangs fails.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startRequest(start *guestpb.ExecStart) *guestpb.ExecRequest {
	return &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Start{Start: start}}
}

// TestExecRefuses has requests that must not start anything.
func TestExecRefuses(t *testing.T) {
	stdin := &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte("x")}}
	resize := &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Resize{Resize: &guestpb.WindowSize{Rows: 1}}}
	const noStart = "first message must be ExecStart"
	tests := []struct {
		name  string
		first *guestpb.ExecRequest // nil half-closes
		code  codes.Code
		text  string
	}{
		{"stdin first", stdin, codes.Unknown, noStart},
		{"resize first", resize, codes.Unknown, noStart},
		{"empty first", &guestpb.ExecRequest{}, codes.Unknown, noStart},
		{"nothing", nil, codes.Unknown, noStart},
	}
	client := dial(t, Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream, err := client.Exec(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			if test.first == nil {
				err = stream.CloseSend()
			} else {
				err = stream.Send(test.first)
			}
			if err != nil {
				t.Fatal(err)
			}
			resp, err := stream.Recv()
			if got := status.Convert(err); got.Code() != test.code || got.Message() != test.text {
				t.Errorf("got %v, %v, want code %v, %q", resp, err, test.code, test.text)
			}
		})
	}
}

// cancelled is a stream whose client has gone before it is served.
type cancelled struct {
	grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]
	request *guestpb.ExecRequest
}

func (c *cancelled) Recv() (*guestpb.ExecRequest, error) { return c.request, nil }

func (c *cancelled) Context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestExecCancelledStartsNothing has a command that cannot be started: that
// this is not noticed shows that nobody has tried.
func TestExecCancelledStartsNothing(t *testing.T) {
	start := &guestpb.ExecStart{Command: []string{"/kindling/none"}}
	stream := &cancelled{request: startRequest(start)}
	s := newService(Options{})
	if _, err := s.exec(stream, start); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if err := s.Exec(stream); status.Code(err) != codes.Canceled {
		t.Errorf("got error %v, want code %v", err, codes.Canceled)
	}
}

// TestExecMessages looks at the messages themselves: an odd request in between
// has no effect, and the exit code is the last response.
func TestExecMessages(t *testing.T) {
	stream, err := dial(t, Options{Env: os.Environ()}).Exec(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	requests := []*guestpb.ExecRequest{
		startRequest(&guestpb.ExecStart{Command: []string{"/bin/sh", "-c", "cat; head -c 100000 /dev/zero; exit 9"}}),
		{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte("a")}},
		{Request: &guestpb.ExecRequest_Stdin{}},
		{Request: &guestpb.ExecRequest_Resize{Resize: &guestpb.WindowSize{Rows: 1 << 31, Cols: 0}}},
		startRequest(&guestpb.ExecStart{Command: []string{"true"}}),
		{},
		{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte("b")}},
	}
	for _, req := range requests {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var stdout []byte
	for {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if exit, ok := resp.Response.(*guestpb.ExecResponse_ExitCode); ok {
			if exit.ExitCode != 9 {
				t.Errorf("got exit code %d, want 9", exit.ExitCode)
			}
			break
		}
		chunk := resp.GetStdout()
		if len(chunk) == 0 || len(chunk) > 32<<10 {
			t.Errorf("got a message of %d bytes, want 1 to 32768", len(chunk))
		}
		stdout = append(stdout, chunk...)
	}
	if want := "ab" + string(make([]byte, 100000)); string(stdout) != want {
		t.Errorf("got %d bytes %.10q, want %d bytes %.10q", len(stdout), stdout, len(want), want)
	}
	if resp, err := stream.Recv(); resp != nil || err == nil {
		t.Errorf("got %v behind the exit code, want none", resp)
	}
}

// TestSilentPeer has a peer that connects and says nothing.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		listener := bufconn.Listen(64 << 10)
		served := make(chan error, 1)
		go func() { served <- s.Serve(listener) }()
		conn, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != handshakeTime {
			t.Errorf("closed after %v, want %v", took, handshakeTime)
		}
		s.Stop()
		if err := errors.Join(<-served, conn.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestUnimplemented calls what later hosts do: they fall back on this answer.
func TestUnimplemented(t *testing.T) {
	err := connect(t, Options{}).Invoke(limited(t), "/guest.GuestService/GetGPUInitStatus", &guestpb.StatPathRequest{}, &guestpb.StatPathResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got error %v, want code %v", err, codes.Unimplemented)
	}
}
