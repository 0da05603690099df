package agent_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// The first released protocol is kept as bytes: what a client and a server of it
// sent on a connection. Nothing but a lost file is a reason to write them anew.
var update = flag.Bool("update", false, "record testdata/frozen_*.hex anew, with peers that know only the first protocol")

const (
	frozenClient = "testdata/frozen_client.hex"
	frozenServer = "testdata/frozen_server.hex"
)

// oldAgent is a server of the first protocol: output is collected, a signal is
// -1, and nothing else is known of a command's end.
type oldAgent struct {
	guestpb.UnimplementedGuestServiceServer
}

func (oldAgent) Exec(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	argv := first.GetStart().GetCommand()
	var stdin, stdout, stderr bytes.Buffer
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		stdin.Write(req.GetStdin())
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &stdin, &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start command: %w", err)
	}
	_ = cmd.Wait()
	var responses []*guestpb.ExecResponse
	if stdout.Len() > 0 {
		responses = append(responses, &guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: stdout.Bytes()}})
	}
	if stderr.Len() > 0 {
		responses = append(responses, &guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stderr{Stderr: stderr.Bytes()}})
	}
	code := int32(cmd.ProcessState.ExitCode())
	for _, resp := range append(responses, &guestpb.ExecResponse{Response: &guestpb.ExecResponse_ExitCode{ExitCode: code}}) {
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	return nil
}

func (oldAgent) StatPath(context.Context, *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	return &guestpb.StatPathResponse{Exists: true, IsDir: true, Mode: 0o755, Size: 4096}, nil
}

func (oldAgent) Shutdown(context.Context, *guestpb.ShutdownRequest) (*guestpb.ShutdownResponse, error) {
	return &guestpb.ShutdownResponse{}, nil
}

// frozenCommands are the commands in both recordings, in their order.
var frozenCommands = []struct {
	argv   []string
	stdin  string
	want   string // of today's client
	stream []string
}{
	{[]string{"/bin/sh", "-c", "echo out; exit 3"}, "", `exit code 3, "out\n", ""`, []string{`stdout "out\n"`, "exit 3"}},
	{[]string{"/bin/sh", "-c", "echo err >&2"}, "", `exit code 0, "", "err\n"`, []string{`stderr "err\n"`, "exit 0"}},
	{[]string{"cat"}, "from the host", `exit code 0, "from the host", ""`, []string{`stdout "from the host"`, "exit 0"}},
	{[]string{"/bin/sh", "-c", "kill -KILL $$"}, "", `killed by a signal or the timeout, "", ""`, []string{"exit -1"}},
	{[]string{"kindling-none"}, "", `not found: exec: "kindling-none": executable file not found in $PATH`,
		[]string{`status Unknown start command: exec: "kindling-none": executable file not found in $PATH`}},
}

// oldCalls makes the calls of a client of the first protocol, one behind the
// other.
func oldCalls(ctx context.Context, guest guestpb.GuestServiceClient) error {
	for _, command := range frozenCommands {
		stream, err := guest.Exec(ctx)
		if err != nil {
			return err
		}
		requests := []*guestpb.ExecRequest{{Request: &guestpb.ExecRequest_Start{Start: &guestpb.ExecStart{Command: command.argv}}}}
		if command.stdin != "" {
			requests = append(requests, &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte(command.stdin)}})
		}
		for _, req := range requests {
			if err := stream.Send(req); err != nil && err != io.EOF {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if err != io.EOF && status.Code(err) != codes.Unknown {
			return err
		}
	}
	_, err := guest.Shutdown(ctx, &guestpb.ShutdownRequest{})
	return err
}

// newCalls makes the calls of today's client, and tells what came of them.
func newCalls(ctx context.Context, c *agent.Client) (got []string) {
	if err := c.WaitReady(ctx); err != nil {
		return []string{err.Error()}
	}
	for _, command := range frozenCommands {
		var stdout, stderr bytes.Buffer
		o := agent.ExecOptions{Command: command.argv, ID: "id", User: "root", Stdout: &stdout, Stderr: &stderr}
		if command.stdin != "" {
			o.Stdin = strings.NewReader(command.stdin)
		}
		exit, err := c.Exec(ctx, o)
		if start, ok := errors.AsType[*agent.StartError](err); ok && start.NotFound {
			got = append(got, "not found: "+start.Reason)
		} else if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, fmt.Sprintf("%v, %q, %q", exit, &stdout, &stderr))
		}
	}
	_, err := c.Hello(ctx)
	got = append(got, fmt.Sprint(errors.Is(err, agent.ErrUnimplemented)))
	got = append(got, fmt.Sprint(errors.Is(c.SignalExec(ctx, "id", syscall.SIGINT), agent.ErrUnimplemented)))
	return append(got, fmt.Sprint(c.Shutdown(ctx, agent.ShutdownOptions{Grace: 5e9, Reason: "test"})))
}

// TestFrozenServer has today's client talk with the bytes of an old agent.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	if *update {
		record(t, frozenServer, "what an agent of the first protocol sent", func(ctx context.Context, socket string) error {
			c := newClient(t, socket)
			newCalls(ctx, c)
			return c.Close()
		}, func(toServer, toClient *bytes.Buffer) *bytes.Buffer { return toClient })
	}
	recorded := readFrozen(t, frozenServer)
	socket := serveConns(t, func(conn net.Conn) {
		if err := replay(conn, recorded); ignoreReset(err) != nil {
			t.Errorf("replay: %v", err)
		}
	})
	var want []string
	for _, command := range frozenCommands {
		want = append(want, command.want)
	}
	want = append(want, "true", "true", "<nil>")
	if diff := cmp.Diff(want, newCalls(limited(t), newClient(t, socket))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// replay sends a recorded server's frames, each behind the end of the client's
// call that it is for.
func replay(conn net.Conn, recorded []byte) error {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	in := http2.NewFramer(io.Discard, conn)
	ended := map[uint32]bool{0: true}
	for out := http2.NewFramer(io.Discard, bytes.NewReader(recorded)); len(recorded) > 0; {
		frame, err := out.ReadFrame()
		if err != nil {
			return err
		}
		header := frame.Header()
		for !ended[header.StreamID] {
			frame, err := in.ReadFrame()
			if err != nil {
				return err
			}
			header := frame.Header()
			isEnd := header.Flags.Has(http2.FlagDataEndStream) && (header.Type == http2.FrameData || header.Type == http2.FrameHeaders)
			ended[header.StreamID] = ended[header.StreamID] || isEnd
		}
		size := 9 + int(header.Length)
		if _, err := conn.Write(recorded[:size]); err != nil {
			return err
		}
		recorded = recorded[size:]
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}

// TestFrozenClient has today's agent answer the bytes of an old client.
func TestFrozenClient(t *testing.T) {
	t.Parallel()
	if *update {
		record(t, frozenClient, "what a client of the first protocol sent", func(ctx context.Context, socket string) error {
			conn, err := grpc.NewClient("passthrough:///vsock", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithInitialWindowSize(1<<16), // or it pings to find a better one, which the replay would bunch
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "unix", socket)
				}))
			if err != nil {
				return err
			}
			return errors.Join(oldCalls(ctx, guestpb.NewGuestServiceClient(conn)), conn.Close())
		}, func(toServer, toClient *bytes.Buffer) *bytes.Buffer { return toServer })
	}
	signals := make(chan syscall.Signal, 1)
	socket := serve(t, server.New(server.Options{
		Env: []string{"PATH=" + contract.DefaultPath},
		Kill: func(_ int, signal syscall.Signal) error {
			signals <- signal
			return nil
		},
	}))
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := conn.Write(readFrozen(t, frozenClient)); err != nil {
		t.Fatal(err)
	}
	want := map[uint32][]string{}
	stream := uint32(1)
	for _, command := range frozenCommands {
		want[stream] = command.stream
		if !strings.HasPrefix(command.stream[len(command.stream)-1], "status ") {
			want[stream] = append(want[stream][:len(want[stream]):len(want[stream])], "status OK ")
		}
		stream += 2
	}
	want[stream] = []string{"message of 0 bytes", "status OK "}
	got, err := readAnswers(conn, len(want), stream)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers by stream (-want +got):\n%s", diff)
	}
	if signal := <-signals; signal != syscall.SIGTERM {
		t.Errorf("shutdown by %v, want %v", signal, syscall.SIGTERM)
	}
}

// readAnswers reads a server's frames until it has ended so many calls, of which
// all but the last one are commands.
func readAnswers(r io.Reader, calls int, last uint32) (map[uint32][]string, error) {
	got := map[uint32][]string{}
	data := map[uint32][]byte{}
	framer := http2.NewFramer(io.Discard, r)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for calls > 0 {
		frame, err := framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		stream := frame.Header().StreamID
		switch frame := frame.(type) {
		case *http2.DataFrame:
			data[stream] = append(data[stream], frame.Data()...)
		case *http2.MetaHeadersFrame:
			if !frame.StreamEnded() {
				continue
			}
			calls--
			for b := data[stream]; len(b) >= 5; {
				size := 5 + int(b[1])<<24 + int(b[2])<<16 + int(b[3])<<8 + int(b[4])
				text, err := describe(b[5:size], stream == last)
				if err != nil {
					return nil, err
				}
				got[stream], b = append(got[stream], text), b[size:]
			}
			fields := map[string]string{}
			for _, field := range frame.Fields {
				fields[field.Name] = field.Value
			}
			var code codes.Code
			if err := code.UnmarshalJSON([]byte(fields["grpc-status"])); err != nil {
				return nil, err
			}
			got[stream] = append(got[stream], "status "+code.String()+" "+fields["grpc-message"])
		}
	}
	return got, nil
}

func describe(message []byte, isShutdown bool) (string, error) {
	if isShutdown {
		return fmt.Sprintf("message of %d bytes", len(message)), nil
	}
	var resp guestpb.ExecResponse
	if err := proto.Unmarshal(message, &resp); err != nil {
		return "", err
	}
	switch content := resp.GetResponse().(type) {
	case *guestpb.ExecResponse_Stdout:
		return fmt.Sprintf("stdout %q", content.Stdout), nil
	case *guestpb.ExecResponse_Stderr:
		return fmt.Sprintf("stderr %q", content.Stderr), nil
	default:
		return fmt.Sprintf("exit %d", resp.GetExitCode()), nil
	}
}

func readFrozen(t *testing.T, name string) (data []byte) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		digits, _, _ := strings.Cut(line, "#")
		part, err := hex.DecodeString(strings.TrimSpace(digits))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, part...)
	}
	return data
}
