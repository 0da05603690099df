package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// maxHeld is how many bytes may be under way in one direction of one command:
// two pipes' worth, gRPC's windows and write buffers, and some messages.
const maxHeld = 2 << 20

// awaitStall waits until a growing number has begun to grow and stands still.
func awaitStall(t *testing.T, what string, value func() int64) int64 {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	end := time.After(patience)
	for last := int64(0); ; {
		select {
		case <-ticker.C:
		case <-end:
			t.Errorf("%s: does not stall, is %d", what, last)
			return last
		}
		now := value()
		if now > 0 && now == last {
			return now
		}
		last = now
	}
}

// slowReader stops at the first output until check returns.
type slowReader struct {
	check func(firstLine string)
	got   bytes.Buffer
	seen  bool
}

func (r *slowReader) Write(b []byte) (int, error) {
	r.got.Write(b)
	if r.seen {
		return len(b), nil
	}
	line, _, found := bytes.Cut(r.got.Bytes(), []byte("\n"))
	if r.seen = found; found {
		r.check(string(line))
	}
	return len(b), nil
}

// TestExecOutputFlood has a client that does not read. The command must stall
// instead of somebody collecting its output.
func TestExecOutputFlood(t *testing.T) {
	const size = 8 << 20
	input := filepath.Join(t.TempDir(), "input")
	if err := errors.Join(os.WriteFile(input, nil, 0o600), os.Truncate(input, size)); err != nil {
		t.Fatal(err)
	}
	onTransports(t, func(t *testing.T, c *agent.Client) {
		for _, redirect := range []string{"", " >&2"} {
			t.Run("cat"+redirect, func(t *testing.T) {
				r := &slowReader{check: func(pid string) {
					held := awaitStall(t, "bytes read by cat", func() int64 { return filePosition(t, pid) })
					if held > maxHeld {
						t.Errorf("cat got rid of %d bytes with nobody reading, want at most %d", held, maxHeld)
					}
				}}
				// The position in the input tells how far cat is.
				code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{
					Command: []string{"/bin/sh", "-c", `exec 0<"$0"` + redirect + "; echo $$; exec cat", input}, Stdout: r, Stderr: r,
				}))
				_, rest, _ := strings.Cut(r.got.String(), "\n")
				if code != 0 || err != nil || rest != string(make([]byte, size)) {
					t.Errorf("got %d, %v, %d bytes, want 0, %d zero bytes", code, err, len(rest), size)
				}
			})
		}
	})
}

// filePosition is where a process is in its standard input. The process may
// not have started to read.
func filePosition(t *testing.T, pid string) int64 {
	t.Helper()
	info, err := os.ReadFile("/proc/" + pid + "/fdinfo/0")
	if err != nil {
		t.Error(err)
		return 0
	}
	line, _, _ := strings.Cut(string(info), "\n")
	position, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, "pos:")), 10, 64)
	if err != nil {
		t.Error(err)
	}
	return position
}

// countingZeros is an endless input that counts what was read.
type countingZeros struct{ n atomic.Int64 }

func (z *countingZeros) Read(b []byte) (int, error) {
	clear(b)
	z.n.Add(int64(len(b)))
	return len(b), nil
}

// TestExecInputFlood has a command that does not read.
func TestExecInputFlood(t *testing.T) {
	onTransports(t, func(t *testing.T, c *agent.Client) {
		ctx, cancel := context.WithCancel(limited(t))
		var zeros countingZeros
		w := &watcher{t: t, then: func() {
			if held := awaitStall(t, "bytes sent", zeros.n.Load); held > maxHeld {
				t.Errorf("client got rid of %d bytes with nobody reading, want at most %d", held, maxHeld)
			}
			cancel()
		}}
		_, err := exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh("echo $$; exec sleep 1000"), Stdin: &zeros, Stdout: w}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
		w.requireEnd(1)
	})
}

// TestExecManyTimes has more commands at a time than the agent serves at once.
func TestExecManyTimes(t *testing.T) {
	onTransports(t, func(t *testing.T, c *agent.Client) {
		const commands = 300
		errs := make(chan error, commands)
		for i := range commands {
			go func() {
				code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{Command: sh(fmt.Sprintf("exit %d", i%256))}))
				if err == nil && code != i%256 {
					err = fmt.Errorf("command %d: got exit code %d", i, code)
				}
				errs <- err
			}()
		}
		for range commands {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

// badGuest is an agent that does not keep to the protocol.
type badGuest struct {
	guestpb.UnimplementedGuestServiceServer
	exec func(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error
}

func (g *badGuest) Exec(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
	return g.exec(stream)
}

func TestExecBadGuest(t *testing.T) {
	t.Parallel()
	stdout := func(n int) *guestpb.ExecResponse {
		return &guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: make([]byte, n)}}
	}
	exit := func(code int32) *guestpb.ExecResponse {
		return &guestpb.ExecResponse{Response: &guestpb.ExecResponse_ExitCode{ExitCode: code}}
	}
	signalled := func(code, signal int32) *guestpb.ExecResponse {
		resp := exit(code)
		resp.Signal = signal
		return resp
	}
	isProtocol := func(err error) bool { return errors.Is(err, agent.ErrProtocol) }
	send := func(stream grpc.ServerStream, responses ...*guestpb.ExecResponse) error {
		for _, resp := range responses {
			if err := stream.SendMsg(resp); err != nil {
				return err
			}
		}
		return nil
	}
	type stream = grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]
	tests := []struct {
		name    string
		exec    func(stream) error
		code    int
		wantErr func(error) bool
	}{
		{"ends without an exit code", func(s stream) error { return send(s, stdout(1)) }, -1,
			func(err error) bool { return errors.Is(err, agent.ErrNoExitCode) }},
		{"fails after output", func(s stream) error { return errors.Join(send(s, stdout(1)), status.Error(codes.Aborted, "x")) }, -1,
			func(err error) bool { return status.Code(err) != codes.OK }},
		{"message over the limit", func(s stream) error { return send(s, stdout(5<<20)) }, -1,
			func(err error) bool { return status.Code(err) == codes.ResourceExhausted }},
		{"header over the limit", func(stream) error { return status.Error(codes.Unknown, strings.Repeat("a", 1<<20)) }, -1,
			func(err error) bool { return status.Code(err) == codes.Internal }},
		{"odd exit code", func(s stream) error { return send(s, exit(-2147483648)) }, -1, isProtocol},
		{"exit code beyond a byte", func(s stream) error { return send(s, exit(256)) }, -1, isProtocol},
		{"signal beyond the last", func(s stream) error { return send(s, signalled(-1, 65)) }, -1, isProtocol},
		{"negative signal", func(s stream) error { return send(s, signalled(-1, -9)) }, -1, isProtocol},
		{"signal and an exit code", func(s stream) error { return send(s, signalled(0, 9)) }, -1, isProtocol},
		{"signal of a real-time kind", func(s stream) error { return send(s, signalled(-1, 64)) }, -1, nil},
		{"empty messages before the exit code", func(s stream) error {
			return send(s, &guestpb.ExecResponse{}, &guestpb.ExecResponse{}, exit(3))
		}, 3, nil},
		{"output for ever after the exit code", func(s stream) error {
			for err := send(s, exit(4)); ; err = send(s, stdout(1000)) {
				if err != nil {
					return err
				}
			}
		}, 4, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := grpc.NewServer(grpc.WaitForHandlers(true))
			guestpb.RegisterGuestServiceServer(s, &badGuest{exec: test.exec})
			c := newClient(t, serve(t, s))
			code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{Stdin: zeros{}, Stdout: io.Discard}))
			if code != test.code || (err != nil) != (test.wantErr != nil) || (err != nil && !test.wantErr(err)) {
				t.Errorf("got %d, %v, want %d", code, err, test.code)
			}
		})
	}
}

// TestExecEndlessGuest has a guest that sends without an end: the context still
// ends the call.
func TestExecEndlessGuest(t *testing.T) {
	t.Parallel()
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	guestpb.RegisterGuestServiceServer(s, &badGuest{exec: func(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
		for {
			if err := stream.Send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: []byte("\n")}}); err != nil {
				return err
			}
		}
	}})
	ctx, cancel := context.WithCancel(limited(t))
	r, w := io.Pipe()
	scanned := make(chan bool)
	go func() {
		defer close(scanned)
		for lines := bufio.NewScanner(r); lines.Scan(); cancel() {
		}
	}()
	_, err := exitCode(newClient(t, serve(t, s)).Exec(ctx, agent.ExecOptions{Stdout: w}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	<-scanned
}
