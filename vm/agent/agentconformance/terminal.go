package agentconformance

import (
	"strings"

	"github.com/kindling-vm/kindling/vm/agent"
)

// terminal has a size that no test would get by chance.
func terminal(resize <-chan agent.WindowSize) *agent.TTY {
	return &agent.TTY{Size: agent.WindowSize{Rows: 31, Cols: 101}, Resize: resize}
}

// withoutTerminals is an agent that must say that it has none.
func withoutTerminals(s *session) {
	_, err := s.exec(agent.ExecOptions{Command: []string{"true"}, TTY: &agent.TTY{}})
	s.requireError(err, agent.ErrUnimplemented)
}

// terminalCases are commands on a terminal. Their input is left open but for the
// case of its end, since its end means different things to different agents.
var terminalCases = []testCase{
	{name: "terminal: it has the size of the request", needs: TTY, without: withoutTerminals, run: func(s *session) {
		s.require(agent.ExecOptions{Command: []string{"stty", "size"}, TTY: terminal(nil)}, result{stdout: "31 101\r\n"})
		s.require(agent.ExecOptions{Command: []string{"stty", "size"}, TTY: &agent.TTY{}}, result{stdout: "24 80\r\n"})
	}},
	{name: "terminal: a new size is seen", needs: TTY, without: withoutTerminals, run: func(s *session) {
		sizes := make(chan agent.WindowSize)
		r := s.start(s.ctx, s.Client, agent.ExecOptions{
			Command: sh("trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.02; done"), TTY: terminal(sizes),
		})
		r.see("ready\r\n")
		sizes <- agent.WindowSize{Rows: 50, Cols: 132}
		r.see("50 132\r\n")
		r.requireExit(agent.ExitStatus{Code: 4})
	}},
	{name: "terminal: the interrupt key interrupts", needs: TTY, without: withoutTerminals, run: func(s *session) {
		r := s.start(s.ctx, s.Client, agent.ExecOptions{
			Command: sh("trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.02; done"), TTY: terminal(nil),
		})
		r.see("ready\r\n")
		r.send("\x03")
		r.see("caught\r\n")
		r.requireExit(agent.ExitStatus{Code: 7})
	}},
	{name: "terminal: lines are echoed and read", needs: TTY, without: withoutTerminals, run: func(s *session) {
		r := s.start(s.ctx, s.Client, agent.ExecOptions{Command: sh(`read x; echo "got $x"`), TTY: terminal(nil)})
		r.send("in\r")
		r.see("in\r\ngot in\r\n")
		r.requireExit(agent.ExitStatus{})
	}},
	{name: "terminal: all output is standard output", needs: TTY, without: withoutTerminals, run: func(s *session) {
		s.require(agent.ExecOptions{Command: sh("echo out; echo err >&2; test -t 0 && test -t 1 && test -t 2"), TTY: terminal(nil)},
			result{stdout: "out\r\nerr\r\n"})
	}},
	{name: "terminal: environment", needs: TTY, without: withoutTerminals, run: func(s *session) {
		script := `echo "$TERM,$LANG,$LC_ALL,$COLORTERM"`
		s.require(agent.ExecOptions{Command: sh(script), TTY: terminal(nil)}, result{stdout: "xterm-256color,C.UTF-8,C.UTF-8,truecolor\r\n"})
		s.require(agent.ExecOptions{Command: sh(script), TTY: terminal(nil), Env: map[string]string{"TERM": "dumb", "LANG": ""}},
			result{stdout: "dumb,,C.UTF-8,truecolor\r\n"})
	}},
	{name: "terminal: program is not found", needs: TTY, without: withoutTerminals, run: func(s *session) {
		s.requireStartError(agent.ExecOptions{Command: []string{"kindling-none"}, TTY: terminal(nil)}, true, "executable file not found in $PATH")
	}},
	{name: "terminal: the end of the input is the command's", needs: TTYEnd, without: func(*session) {
		// What such an agent does then is not defined.
	}, run: func(s *session) {
		got, err := s.exec(agent.ExecOptions{Command: []string{"cat"}, Stdin: strings.NewReader("line\n"), TTY: terminal(nil)})
		if err != nil || !got.exit.Success() || !strings.Contains(got.stdout, "line\r\nline\r\n") {
			s.Errorf("got %+v, error %v, want its line twice", got, err)
		}
	}},
}
