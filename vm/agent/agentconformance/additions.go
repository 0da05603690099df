package agentconformance

import (
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/vm/agent"
)

// ignored is a command whose additions an old agent must ignore.
func ignored(o agent.ExecOptions) func(*session) {
	o.Command = sh("exit 3")
	return func(s *session) { s.require(o, result{exit: agent.ExitStatus{Code: 3}}) }
}

// withoutSignals is an agent that must refuse to signal, and only that.
func withoutSignals(s *session) {
	s.requireError(s.SignalExec(s.ctx, "none", syscall.SIGTERM), agent.ErrUnimplemented)
	ignored(agent.ExecOptions{ID: "kindling"})(s)
}

var umask uint32 = 0o027

// additionCases are what Kindling's agent serves beyond the hypeman agent
// protocol.
var additionCases = []testCase{
	{name: "addition: hello tells the capabilities", run: func(s *session) {
		hello, err := s.Hello(s.ctx)
		var expected []string
		for _, name := range helloNames {
			if s.can(name) {
				expected = append(expected, name)
			}
		}
		if len(expected) == 0 {
			s.requireError(err, agent.ErrUnimplemented)
			return
		}
		if err != nil {
			s.Fatal(err)
		}
		for _, name := range expected {
			if !hello.Has(name) {
				s.Errorf("capability %q: not in %q", name, hello.Capabilities)
			}
		}
		if hello.Protocol == "" {
			s.Error("the protocol has no name")
		}
	}},
	{name: "addition: signal a command", needs: Signal, without: withoutSignals, run: func(s *session) {
		const id = "kindling-conformance-signal"
		r := s.start(s.ctx, s.Client, agent.ExecOptions{Command: sh("sleep 1000 & echo $!; wait"), ID: id})
		pid := r.see("\n")
		if err := s.SignalExec(s.ctx, id, syscall.SIGTERM); err != nil {
			s.Fatal(err)
		}
		r.requireExit(agent.ExitStatus{Code: -1, Signal: syscall.SIGTERM})
		s.requireGone(pid)
	}},
	{name: "addition: signal a command that does not run", needs: Signal, without: withoutSignals, run: func(s *session) {
		if err := s.SignalExec(s.ctx, "kindling-conformance-none", syscall.SIGTERM); status.Code(err) != codes.NotFound {
			s.Errorf("got error %v, want code %v", err, codes.NotFound)
		}
	}},
	{name: "addition: the signal that killed a command", needs: Signal, without: withoutSignals, run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh("kill -USR1 $$")}, result{exit: agent.ExitStatus{Code: -1, Signal: syscall.SIGUSR1}})
	}},
	{name: "addition: the timeout that killed a command", needs: Signal, without: withoutSignals, run: func(s *session) {
		got, err := s.exec(agent.ExecOptions{Command: []string{"sleep", "1000"}, Timeout: 1})
		if err != nil || got.exit.Code != -1 || !got.exit.TimedOut {
			s.Errorf("got %+v, error %v, want it timed out", got, err)
		}
	}},
	{name: "addition: user of a command", needs: User, without: ignored(agent.ExecOptions{User: "root"}), run: func(s *session) {
		self, err := s.exec(agent.ExecOptions{Command: sh("id -u; cat /proc/self/uid_map")})
		if err != nil {
			s.Fatal(err)
		}
		// An agent that is not root, or is so in a namespace of one user, can make
		// nobody of anybody.
		switch fields := strings.Fields(self.stdout); {
		case len(fields) < 4:
			s.Fatalf("got user and users %q", self.stdout)
		case fields[0] == "0" && fields[3] == "1":
			if got, err := s.exec(agent.ExecOptions{Command: []string{"true"}, User: "65534:65533"}); err == nil {
				s.Errorf("a user that the agent's namespace does not have: got %+v", got)
			}
			return
		case fields[0] != "0":
			if got, err := s.exec(agent.ExecOptions{Command: []string{"true"}, User: "0:0"}); err == nil {
				s.Errorf("root for an agent that is not: got %+v", got)
			}
			return
		}
		s.require(agent.ExecOptions{Command: sh("id -u; id -g"), User: "65534:65533"}, result{stdout: "65534\n65533\n"})
	}},
	{name: "addition: user that does not exist", needs: User, without: ignored(agent.ExecOptions{User: "root"}), run: func(s *session) {
		if got, err := s.exec(agent.ExecOptions{Command: []string{"true"}, User: "kindling-none"}); err == nil {
			s.Errorf("got %+v, want an error", got)
		}
	}},
	{name: "addition: umask of a command", needs: Limits, without: ignored(agent.ExecOptions{Umask: &umask}), run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh("umask"), Umask: &umask}, result{stdout: "0027\n"})
	}},
	{name: "addition: resource limits of a command", needs: Limits, without: ignored(agent.ExecOptions{Limits: fewFiles}), run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh("ulimit -Sn; ulimit -Hn"), Limits: fewFiles}, result{stdout: "60\n61\n"})
	}},
	{name: "addition: numbers", needs: Stats, without: func(s *session) {
		_, err := s.Stats(s.ctx)
		s.requireError(err, agent.ErrUnimplemented)
	}, run: func(s *session) {
		s.require(agent.ExecOptions{Command: []string{"true"}}, result{})
		stats, err := s.Stats(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if stats.ExecsStarted == 0 || stats.MemoryTotal != nil && stats.MemoryAvailable != nil && *stats.MemoryAvailable > *stats.MemoryTotal {
			s.Errorf("got %+v", stats)
		}
	}},
}

// fewFiles are limits of RLIMIT_NOFILE, low enough for any agent to set.
var fewFiles = []agent.ResourceLimit{{Resource: 7, Soft: 60, Hard: 61}}
