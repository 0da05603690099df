package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// script writes a program that stands in for the agent.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// waitLines is a script that waits until a file has some lines, or for a bounded
// time.
func waitLines(file, count string) string {
	return "ulimit -t 20; until [ -e " + file + " ] && [ $(wc -l <" + file + ") -ge " + count + " ]; do :; done; "
}

// errorLines are the lines of errors in a log, without what starts them.
func errorLines(log string) []string {
	var found []string
	for line := range strings.Lines(log) {
		if text, ok := strings.CutPrefix(line, logStart+"[ERROR] [hypeman-init:"); ok {
			found = append(found, strings.TrimSpace(text))
		}
	}
	return found
}

// TestAgentIsRestarted has an agent that ends, and an application that waits for
// its third start.
func TestAgentIsRestarted(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	agent := script(t, "echo $HYPEMAN_AGENT_READY_FD $PATH $HOME $0 $# >>"+starts+"; printf x >&3; exit 3")
	g := startGuest(t, agent)
	g.configure(t, &contract.Config{Cmd: sh(waitLines(starts, "3") + "exit 7"), Env: map[string]string{"PATH": "/bin:/usr/bin"}})
	if _, outcome := g.finish(t); outcome != contract.NewExitInfo(7) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(7))
	}
	text, err := os.ReadFile(starts)
	if err != nil {
		t.Fatal(err)
	}
	line := "3 /bin:/usr/bin /root " + agent + " 0\n"
	if diff := cmp.Diff(strings.Repeat(line, 3), string(text)[:min(3*len(line), len(text))]); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
	want := []string{"agent] agent ended with status 3, starts again in 100ms", "agent] agent ended with status 3, starts again in 200ms"}
	if lines := errorLines(g.log.String()); len(lines) < 2 || !cmp.Equal(want, lines[:2]) {
		t.Errorf("errors in the log: %q, want %q first", lines, want)
	}
}

// TestAgentIsMissing has an application that runs without its agent, until the
// step behind the agent's is done.
func TestAgentIsMissing(t *testing.T) {
	agent := filepath.Join(t.TempDir(), "missing")
	g := startGuest(t, agent)
	dir := strings.TrimPrefix(g.Env[len(g.Env)-1], "TMPDIR=")
	g.configure(t, &contract.Config{Cmd: sh("ulimit -t 20; until [ -e " + dir + "/init*/boot.json ]; do :; done")})
	if _, outcome := g.finish(t); outcome != contract.NewExitInfo(0) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(0))
	}
	want := []string{"agent] start " + agent + ": fork/exec " + agent + ": no such file or directory"}
	if diff := cmp.Diff(want, errorLines(g.log.String())); diff != "" {
		t.Errorf("errors in the log (-want +got):\n%s", diff)
	}
}

// TestStartAgent checks what the start of an agent tells, and that none starts
// where there is to be none.
func TestStartAgent(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name   string
		config contract.Config
		ended  bool
		want   string // "" is no error
	}{
		{"missing", contract.Config{}, false, "start " + missing + ": fork/exec " + missing + ": no such file or directory"},
		{"the machine has ended", contract.Config{}, true, ""},
		{"not wanted", contract.Config{SkipGuestAgent: true}, false, ""},
		{"a service of systemd", contract.Config{InitMode: contract.ModeSystemd}, false, ""},
	}
	for _, test := range tests {
		m := machineWithLog(&strings.Builder{})
		m.config, m.agent.path, m.agent.stopped = &test.config, missing, test.ended
		started := make(chan error, 1)
		go func() { started <- m.startAgent() }()
		var err error
		select {
		case event := <-m.children.events:
			event()
			err = <-started
		case err = <-started:
		}
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestAwaitReady(t *testing.T) {
	tests := []struct {
		name  string
		agent func(*os.File) error
		limit time.Duration
		want  string
	}{
		{"ready", func(pipe *os.File) error { _, err := pipe.Write([]byte{0}); return err }, time.Minute, ""},
		{"ends", (*os.File).Close, time.Minute, "wait for agent: EOF"},
		{"hangs", func(*os.File) error { return nil }, time.Millisecond, "wait for agent: read |0: i/o timeout"},
	}
	for _, test := range tests {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := test.agent(writer); err != nil {
			t.Fatal(err)
		}
		if err := awaitReady(reader, test.limit); (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
		writer.Close()
	}
}

// TestAgentThatHangs checks that an agent that does not listen makes room for
// another, and that news of one that has ended hit no other process.
func TestAgentThatHangs(t *testing.T) {
	for _, mine := range []bool{true, false} {
		m := machineWithLog(&strings.Builder{})
		ended := false
		pid, err := m.children.start(program{path: "/bin/sh", argv: []string{"sh", "-c", "ulimit -t 20; while :; do :; done"}, dir: "/"},
			func(status unix.WaitStatus) { ended = status.Signaled() && status.Signal() == unix.SIGKILL })
		if err != nil {
			t.Fatal(err)
		}
		if mine {
			m.agent.pid = pid
		}
		m.agentReady(pid, os.ErrDeadlineExceeded)
		if !mine {
			if err := m.children.signal(pid, unix.SIGTERM, false); err != nil {
				t.Fatal(err)
			}
		}
		for m.children.ended[pid] != nil {
			if err := m.serve(0); err != nil {
				t.Fatal(err)
			}
		}
		if ended != mine {
			t.Errorf("agent's own number %v: killed = %v", mine, ended)
		}
	}
}
