package agentconformance

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// execCases are what goes into a command and comes out of it.
var execCases = []testCase{
	{name: "exec: outputs stay apart", run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh("echo out; echo err >&2; echo more")}, result{stdout: "out\nmore\n", stderr: "err\n"})
	}},
	{name: "exec: arguments are passed as they are", run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh(`printf '<%s>' "$@"`, "", "a b", "$HOME", "ä")}, result{stdout: "<><a b><$HOME><ä>"})
	}},
	{name: "exec: output is sent as it is written", run: func(s *session) {
		r := s.start(s.ctx, s.Client, agent.ExecOptions{Command: sh("echo first; read x; echo $x")})
		r.see("first\n")
		r.send("second\n")
		r.see("second\n")
		r.requireExit(agent.ExitStatus{})
	}},
	{name: "exec: every byte passes", run: func(s *session) {
		var all strings.Builder
		for i := range 256 {
			all.WriteByte(byte(i))
		}
		s.require(agent.ExecOptions{Command: []string{"cat"}, Stdin: strings.NewReader(all.String())}, result{stdout: all.String()})
	}},
	{name: "exec: much input", run: func(s *session) {
		input := io.LimitReader(strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20)
		s.require(agent.ExecOptions{Command: []string{"wc", "-c"}, Stdin: input}, result{stdout: "1048576\n"})
	}},
	{name: "exec: no input is an empty one", run: func(s *session) {
		s.require(agent.ExecOptions{Command: []string{"cat"}}, result{})
	}},
	{name: "exec: input that nobody reads", run: func(s *session) {
		s.require(agent.ExecOptions{Command: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}, result{})
	}},
	{name: "exec: environment", run: func(s *session) {
		env := map[string]string{"KINDLING_A": "a=b c", "KINDLING_B": ""}
		s.require(agent.ExecOptions{Command: sh(`echo "$KINDLING_A,${KINDLING_B-unset},${KINDLING_C-unset}"`), Env: env}, result{stdout: "a=b c,,unset\n"})
	}},
	{name: "exec: working directory", run: func(s *session) {
		s.require(agent.ExecOptions{Command: []string{"pwd"}, Dir: "/proc"}, result{stdout: "/proc\n"})
	}},
	{name: "exec: program is looked up in the request's PATH", run: func(s *session) {
		env := map[string]string{"PATH": "/kindling/none"}
		s.requireStartError(agent.ExecOptions{Command: []string{"sh"}, Env: env}, true, "executable file not found in $PATH")
	}},
	{name: "exec: no command is a shell", run: func(s *session) {
		s.require(agent.ExecOptions{Stdin: strings.NewReader("echo from shell\nexit 3\n")}, result{exit: agent.ExitStatus{Code: 3}, stdout: "from shell\n"})
	}},
	{name: "exec: commands at the same time", run: func(s *session) {
		var wg sync.WaitGroup
		for i := range 8 {
			r := s.start(s.ctx, s.Client, agent.ExecOptions{Command: []string{"cat"}})
			wg.Go(func() {
				for round := range 25 {
					line := fmt.Sprintf("%d %d\n", i, round)
					if _, err := io.WriteString(r.in, line); err != nil {
						s.Error(err)
						return
					}
					if before, err := r.await(s.ctx, line); err != nil || before != "" {
						s.Errorf("got %q, %v before %q", before, err, line)
						return
					}
				}
				if err := r.in.Close(); err != nil {
					s.Error(err)
				}
				r.requireExit(agent.ExitStatus{})
			})
		}
		wg.Wait()
	}},
	{name: "exec: first message is not the start", run: func(s *session) {
		_, guest := s.raw()
		stream, err := guest.Exec(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if err := stream.Send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{}}); err != nil && err != io.EOF {
			s.Fatal(err)
		}
		// An agent that wants a token says that first.
		resp, err := stream.Recv()
		if text := status.Convert(err).Message(); text != "first message must be ExecStart" && status.Code(err) != codes.Unauthenticated {
			s.Errorf("got %v, error %v", resp, err)
		}
	}},
	{name: "exec: size without a terminal has no effect", run: func(s *session) {
		s.requireRaw(&guestpb.ExecStart{Command: []string{"cat"}}, "in",
			&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Resize{Resize: &guestpb.WindowSize{Rows: 1, Cols: 1}}},
			&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte("in")}})
	}},
	{name: "exec: unknown fields have no effect", run: func(s *session) {
		start := &guestpb.ExecStart{Command: []string{"cat"}}
		start.ProtoReflect().SetUnknown([]byte{8 << 3, 1}) // the later protocol's session
		unknown := &guestpb.ExecRequest{}
		unknown.ProtoReflect().SetUnknown([]byte{15 << 3, 1})
		s.requireRaw(start, "in", unknown, &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: []byte("in")}})
	}},
}

// requireRaw runs a command by its messages, which must end with exit code 0.
func (s *session) requireRaw(start *guestpb.ExecStart, want string, requests ...*guestpb.ExecRequest) {
	s.Helper()
	_, guest := s.raw()
	stream, err := guest.Exec(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	requests = append([]*guestpb.ExecRequest{{Request: &guestpb.ExecRequest_Start{Start: start}}}, requests...)
	for _, req := range requests {
		if err := stream.Send(req); err != nil && err != io.EOF {
			s.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		s.Fatal(err)
	}
	var got string
	for {
		resp, err := stream.Recv()
		if status.Code(err) == codes.Unauthenticated && len(s.target.Options) > 0 {
			return
		}
		if err != nil {
			s.Fatalf("got error %v behind %q", err, got)
		}
		got += string(resp.GetStdout())
		if code, last := resp.GetResponse().(*guestpb.ExecResponse_ExitCode); last {
			if code.ExitCode != 0 || got != want {
				s.Errorf("got exit code %d, %q, want 0, %q", code.ExitCode, got, want)
			}
			return
		}
	}
}

// endCases are how commands end.
var endCases = []testCase{
	{name: "end: exit codes", run: func(s *session) {
		for _, code := range []int{0, 1, 126, 127, 128, 255} {
			s.require(agent.ExecOptions{Command: sh(fmt.Sprintf("exit %d", code))}, result{exit: agent.ExitStatus{Code: code}})
		}
	}},
	{name: "end: program is not found", run: func(s *session) {
		s.requireStartError(agent.ExecOptions{Command: []string{"kindling-none"}}, true, `exec: "kindling-none": executable file not found in $PATH`)
		s.requireStartError(agent.ExecOptions{Command: []string{"/kindling/none"}}, true, "no such file or directory")
	}},
	{name: "end: working directory is not found", run: func(s *session) {
		s.requireStartError(agent.ExecOptions{Command: []string{"true"}, Dir: "/kindling/none"}, true, "no such file or directory")
	}},
	{name: "end: file is not a program", run: func(s *session) {
		s.requireStartError(agent.ExecOptions{Command: []string{"/proc"}}, false, "permission denied")
	}},
	{name: "end: a signal gives -1", run: func(s *session) {
		got, err := s.exec(agent.ExecOptions{Command: sh("echo before; kill -KILL $$")})
		if err != nil || got.exit.Code != -1 || got.exit.TimedOut || got.stdout != "before\n" {
			s.Errorf("got %+v, error %v, want exit code -1", got, err)
		}
	}},
	{name: "end: the timeout gives -1 and kills the group", run: func(s *session) {
		got, err := s.exec(agent.ExecOptions{Command: sh("sleep 1000 & echo $!; wait"), Timeout: 1})
		if err != nil || got.exit.Code != -1 {
			s.Fatalf("got %+v, error %v, want exit code -1", got, err)
		}
		s.requireGone(strings.TrimSpace(got.stdout))
	}},
	{name: "end: cancelling kills the group", run: func(s *session) {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		r := s.start(ctx, s.Client, agent.ExecOptions{Command: sh("trap '' TERM HUP INT; sleep 1000 & echo $!; wait")})
		pid := r.see("\n")
		cancel()
		s.requireError(<-r.done, context.Canceled)
		s.requireGone(pid)
	}},
	{name: "end: a process that keeps the output open is not awaited", run: func(s *session) {
		got, err := s.exec(agent.ExecOptions{Command: sh("sleep 1000 & echo $!; exit 5")})
		if err != nil || got.exit.Code != 5 {
			s.Errorf("got %+v, error %v, want exit code 5", got, err)
		}
		s.require(agent.ExecOptions{Command: sh(`kill -KILL "$1"`, strings.TrimSpace(got.stdout))}, result{})
	}},
}
