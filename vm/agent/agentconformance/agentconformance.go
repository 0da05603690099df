// Package agentconformance is what every agent must do, as tests: the hypeman
// agent protocol, and what Kindling's agent serves beside it. It asks only for
// programs that busybox and any Linux machine have, so that it can be run against
// an agent in a machine as well as against one in the same process.
//
// It does not test limits, nor what only a machine can show.
package agentconformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// What an agent can do beside commands without a terminal. The names but for the
// first two are those of Hello.
const (
	TTY    = "tty"         // terminals of commands, which the hypeman agent protocol has
	Files  = "files"       // CopyToGuest, CopyFromGuest, StatPath, which it has too
	User   = "exec-user"   // user of a command
	Limits = "exec-limits" // umask and resource limits of a command
	Signal = "signal"      // SignalExec; which signal or whether the timeout killed a command
	Stats  = "stats"       // Stats
	TTYEnd = "tty-eof"     // the end of the input is that of a terminal's
)

// helloNames are those that Hello must tell.
var helloNames = []string{User, Limits, Signal, Stats, TTYEnd}

// patience is how long a case waits for what must happen.
const patience = 60 * time.Second

// Target is an agent under test.
type Target struct {
	// Dial connects to the agent.
	Dial func(context.Context) (net.Conn, error)
	// Options are those of the client, such as a token.
	Options []agent.Option
	// Capabilities are what the agent must be able to do. Of what is missing here,
	// the cases test that the agent does without in good order.
	Capabilities []string
}

// Hybrid is the agent behind a hypervisor's hybrid vsock socket.
func Hybrid(socketPath string, capabilities ...string) Target {
	return Target{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return agent.DialHybrid(ctx, socketPath, contract.AgentPort)
		},
		Capabilities: capabilities,
	}
}

// testCase is one thing that an agent must do. Of an agent without the capability
// that it needs, it tests without instead.
type testCase struct {
	name    string
	needs   string
	run     func(*session)
	without func(*session)
}

// cases are in the order of docs/agent.md.
var cases = slices.Concat(execCases, endCases, connectionCases, terminalCases, fileCases, additionCases)

// Names are the names of all cases, in their order.
func Names() (names []string) {
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// Run runs all cases against an agent, each as a test of its own.
func Run(t *testing.T, target Target) {
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			s := newSession(t, target)
			if c.needs == "" || s.can(c.needs) {
				c.run(s)
				return
			}
			t.Logf("the agent need not have %q; tested is how it does without", c.needs)
			c.without(s)
		})
	}
}

// session is a case's connection to the agent.
type session struct {
	*testing.T
	*agent.Client
	target Target
	ctx    context.Context
}

func newSession(t *testing.T, target Target) *session {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &session{T: t, target: target, ctx: ctx}
	s.Client = s.connect(target.Dial)
	return s
}

// cleanupContext is for what a case leaves behind.
func (s *session) cleanupContext() context.Context {
	return context.WithoutCancel(s.ctx)
}

func (s *session) can(capability string) bool {
	return slices.Contains(s.target.Capabilities, capability)
}

// connect makes another client of the agent.
func (s *session) connect(dial func(context.Context) (net.Conn, error)) *agent.Client {
	s.Helper()
	client, err := agent.NewClient(dial, s.target.Options...)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := client.Close(); err != nil {
			s.Error(err)
		}
	})
	return client
}

// raw is the agent's service without the checks of package agent. It shows no
// token.
func (s *session) raw() (*grpc.ClientConn, guestpb.GuestServiceClient) {
	s.Helper()
	conn, err := grpc.NewClient("passthrough:///vsock",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.target.Dial(ctx) }))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := conn.Close(); err != nil {
			s.Error(err)
		}
	})
	return conn, guestpb.NewGuestServiceClient(conn)
}

// result is how a command ended and what it wrote.
type result struct {
	exit           agent.ExitStatus
	stdout, stderr string
}

// exec runs a command to its end.
func (s *session) exec(o agent.ExecOptions) (result, error) {
	var stdout, stderr bytes.Buffer
	o.Stdout, o.Stderr = &stdout, &stderr
	exit, err := s.Exec(s.ctx, o)
	return result{exit, stdout.String(), stderr.String()}, err
}

// require runs a command that must exit as wanted.
func (s *session) require(o agent.ExecOptions, want result) {
	s.Helper()
	got, err := s.exec(o)
	if got != want || err != nil {
		s.Errorf("%q: got %+v, error %v, want %+v", o.Command, got, err, want)
	}
}

// requireStartError runs a command that cannot be started.
func (s *session) requireStartError(o agent.ExecOptions, notFound bool, text string) {
	s.Helper()
	_, err := s.exec(o)
	start, ok := errors.AsType[*agent.StartError](err)
	if !ok || start.NotFound != notFound || !strings.Contains(err.Error(), text) {
		s.Errorf("%q: got error %v, want a StartError with NotFound %v and %q", o.Command, err, notFound, text)
	}
}

// requireError checks the kind of an error.
func (s *session) requireError(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("got error %v, want %v", err, want)
	}
}

func sh(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

// screen is a writer on which a test waits for texts.
type screen struct {
	mu      sync.Mutex
	text    string
	changed chan struct{} // has an element behind a change
}

func newScreen() *screen { return &screen{changed: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	s.text += string(b)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return len(b), nil
}

// await waits for a text and returns what came before it. Both are gone then.
func (s *screen) await(ctx context.Context, want string) (before string, err error) {
	for {
		s.mu.Lock()
		before, after, found := strings.Cut(s.text, want)
		if found {
			s.text = after
		}
		s.mu.Unlock()
		if found {
			return before, nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return "", errors.Join(errors.New("wait for "+want+", have "+before), ctx.Err())
		}
	}
}

// running is a command that runs while the test talks with it.
type running struct {
	*session
	*screen
	in   *io.PipeWriter
	done chan error
	exit agent.ExitStatus
}

// start starts a command. Its end is the test's, at the latest.
func (s *session) start(ctx context.Context, client *agent.Client, o agent.ExecOptions) *running {
	r := &running{session: s, screen: newScreen(), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	o.Stdin, o.Stdout, r.in = reader, r.screen, writer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var err error
		r.exit, err = client.Exec(ctx, o)
		r.done <- err
	}()
	s.Cleanup(func() {
		cancel()
		<-ended
		_ = reader.Close() // ends the write of a test that has failed
	})
	return r
}

// see waits for a text of the command.
func (r *running) see(want string) (before string) {
	r.Helper()
	before, err := r.await(r.ctx, want)
	if err != nil {
		r.Fatal(err)
	}
	return before
}

// send gives the command input.
func (r *running) send(text string) {
	r.Helper()
	if _, err := io.WriteString(r.in, text); err != nil {
		r.Fatal(err)
	}
}

// requireExit waits for the command's end.
func (r *running) requireExit(want agent.ExitStatus) {
	r.Helper()
	if err := <-r.done; err != nil || r.exit != want {
		r.Errorf("got %v, error %v, want %v", r.exit, err, want)
	}
}

// requireGone waits until a process of the guest has ended.
func (s *session) requireGone(pid string) {
	s.Helper()
	s.require(agent.ExecOptions{
		Command: sh(`while kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"; do sleep 0.02; done`, pid),
		Timeout: patience / 2,
	}, result{})
}
