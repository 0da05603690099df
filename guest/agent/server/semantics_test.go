package server

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func sh(script string) *guestpb.ExecStart {
	return &guestpb.ExecStart{Command: []string{"/bin/sh", "-c", script}}
}

// TestExec has what a command does and how the call ends, on pipes.
func TestExec(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	with := func(start *guestpb.ExecStart, change func(*guestpb.ExecStart)) *guestpb.ExecStart {
		change(start)
		return start
	}
	timed := func(seconds int32, script string) *guestpb.ExecStart {
		return with(sh(script), func(s *guestpb.ExecStart) { s.TimeoutSeconds = seconds })
	}
	masked := func(umask uint32) *guestpb.ExecStart {
		return with(sh("umask"), func(s *guestpb.ExecStart) { s.Umask = &umask })
	}
	overdue := ending{code: -1, signal: 9, timedOut: true}
	tests := []struct {
		name           string
		start          *guestpb.ExecStart
		stdin          string
		stdout, stderr string
		want           ending
		within         time.Duration
	}{
		{"outputs apart", sh("echo out; echo err >&2"), "", "out\n", "err\n", ending{}, 0},
		{"exit code", sh("exit 7"), "", "", "", ending{code: 7}, 0},
		{"greatest exit code", sh("exit 255"), "", "", "", ending{code: 255}, 0},
		{"killed", sh("kill -9 $$"), "", "", "", ending{code: -1, signal: 9}, 0},
		{"exit code of a shell whose command was killed", sh("exit 137"), "", "", "", ending{code: 137}, 0},
		{"no command", &guestpb.ExecStart{}, "echo shell\n", "shell\n", "", ending{}, 0},
		{"half-close is EOF", &guestpb.ExecStart{Command: []string{"cat"}}, "foo", "foo", "", ending{}, 0},
		{"input that nobody reads", &guestpb.ExecStart{Command: []string{"true"}}, strings.Repeat("x", 1<<20), "", "", ending{}, 0},
		{"input closed early", sh("exec <&-; echo on"), strings.Repeat("x", 1<<20), "on\n", "", ending{}, 0},
		{"output closed early", sh("exec >&- 2>&-; cat >/dev/null; exit 3"), "x", "", "", ending{code: 3}, 0},
		{"no UTF-8", sh(`printf '\377\376\200'`), "", "\xff\xfe\x80", "", ending{}, 0},
		{"no newline", sh("head -c 200000 /dev/zero | tr '\\0' x"), "", strings.Repeat("x", 200000), "", ending{}, 0},
		{"working directory", with(sh("pwd"), func(s *guestpb.ExecStart) { s.Cwd = "/" }), "", "/\n", "", ending{}, 0},
		{"PATH of the request", &guestpb.ExecStart{Command: []string{"tool"}, Env: map[string]string{"PATH": dir}}, "", "tool\n", "", ending{}, 0},
		{"no terminal variables", sh("echo $COLORTERM"), "", "\n", "", ending{}, 0},
		{"child that holds the pipes", sh("sleep 1000 & echo $!"), "", "", "", ending{}, outputGrace + 3*time.Second},
		{"time over", timed(1, "echo a; sleep 1000"), "", "a\n", "", overdue, 3 * time.Second},
		{"time over with a child", timed(1, "sleep 1000 & sleep 1000"), "", "", "", overdue, 3 * time.Second},
		{"time left", timed(1<<31-1, "kill -9 $$"), "", "", "", ending{code: -1, signal: 9}, 0},
		{"umask", masked(0o27), "", "0027\n", "", ending{}, 0},
		{"umask of none", masked(0), "", "0000\n", "", ending{}, 0},
		{"limits", with(sh("ulimit -n; ulimit -Hn; ulimit -c"), func(s *guestpb.ExecStart) {
			s.Rlimits = []*guestpb.ResourceLimit{{Resource: unix.RLIMIT_NOFILE, Soft: 20, Hard: 30}, {Resource: unix.RLIMIT_CORE}}
		}), "", "20\n30\n0\n", "", ending{}, 0},
	}
	client := dial(t, Options{Env: os.Environ()})
	t.Run("all", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				e := mustStart(t, client, test.start)
				if test.stdin != "" {
					e.send(t, stdin(test.stdin))
				}
				if err := e.stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if got := e.end(); got != test.want {
					t.Errorf("got %+v, want %+v", got, test.want)
				}
				limit := max(test.within, 5*time.Second)
				if took := time.Since(began); took > limit {
					t.Errorf("took %v, want %v at most", took, limit)
				}
				if test.name == "child that holds the pipes" {
					killPrinted(t, e.stdout.String())
					return
				}
				if got := e.stdout.String(); got != test.stdout {
					t.Errorf("got %d bytes of output %.100q, want %d %.100q", len(got), got, len(test.stdout), test.stdout)
				}
				if got := e.stderr.String(); got != test.stderr {
					t.Errorf("got errors %.100q, want %.100q", got, test.stderr)
				}
			})
		}
	})
	if got := unix.Umask(0o22); got != 0o22 {
		t.Errorf("umask of the agent is %#o, want 022", got)
	}
	wantNoChildren(t)
}

// TestExecNotStarted has what cannot start: that is told at once, as a status.
func TestExecNotStarted(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o777); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) *guestpb.ExecStart { return &guestpb.ExecStart{Command: argv} }
	limited := func(limits ...*guestpb.ResourceLimit) *guestpb.ExecStart {
		return &guestpb.ExecStart{Command: []string{"true"}, Rlimits: limits}
	}
	onTTY := func(start *guestpb.ExecStart) *guestpb.ExecStart {
		start.Tty = true
		return start
	}
	withEnv := func(key, value string) *guestpb.ExecStart {
		return &guestpb.ExecStart{Command: []string{"true"}, Env: map[string]string{key: value}}
	}
	const (
		noFile   = ": no such file or directory"
		notFound = `exec: "kindling-none": executable file not found in $PATH`
		long     = "argument list too long"
	)
	tests := []struct {
		name  string
		start *guestpb.ExecStart
		code  codes.Code
		text  string
	}{
		{"not in PATH", run("kindling-none"), codes.Unknown, "start command: " + notFound},
		{"not in PATH, terminal", onTTY(run("kindling-none")), codes.Unknown, "start pty: " + notFound},
		{"no file", run("/kindling/none"), codes.Unknown, "start command: fork/exec /kindling/none" + noFile},
		{"no file, terminal", onTTY(run("/kindling/none")), codes.Unknown, "start pty: fork/exec /kindling/none" + noFile},
		{
			"no file, with limits",
			&guestpb.ExecStart{
				Command: []string{"/kindling/none"}, Umask: new(uint32(0)),
				Rlimits: []*guestpb.ResourceLimit{{Resource: unix.RLIMIT_CORE}},
			},
			codes.Unknown, "start command: fork/exec /kindling/none" + noFile,
		},
		{"directory", run(dir), codes.Unknown, "start command: fork/exec " + dir + ": permission denied"},
		{"FIFO", run(fifo), codes.Unknown, "start command: fork/exec " + fifo + ": permission denied"},
		{"text", run(text), codes.Unknown, "start command: fork/exec " + text + ": exec format error"},
		{"no working directory", &guestpb.ExecStart{Cwd: "/kindling/none"}, codes.Unknown, "start command: chdir /kindling/none" + noFile},
		{"long argument", run("true", strings.Repeat("x", 1<<20)), codes.Unknown, long},
		{"long arguments", run(slices.Repeat([]string{"true"}, 500_000)...), codes.Unknown, long},
		{"long environment", withEnv("A", strings.Repeat("x", 3<<20)), codes.Unknown, long},
		{"too long for a message", run("true", strings.Repeat("x", maxMessage)), codes.ResourceExhausted, "larger than max"},
		{"NUL in an argument", run("true", "a\x00b"), codes.InvalidArgument, "argument 1 has a NUL"},
		{"NUL in the program", run("a\x00b"), codes.InvalidArgument, "argument 0 has a NUL"},
		{"NUL in a value", withEnv("A", "\x00"), codes.InvalidArgument, `environment variable "A" has a NUL`},
		{"NUL in a key", withEnv("A\x00", ""), codes.InvalidArgument, `environment variable "A\x00": not a name`},
		{"= in a key", withEnv("A=B", ""), codes.InvalidArgument, `environment variable "A=B": not a name`},
		{"empty key", withEnv("", "x"), codes.InvalidArgument, `environment variable "": not a name`},
		{"NUL in the working directory", &guestpb.ExecStart{Cwd: "/\x00"}, codes.InvalidArgument, "working directory has a NUL"},
		{"negative timeout", &guestpb.ExecStart{TimeoutSeconds: -1}, codes.InvalidArgument, "timeout of -1 seconds is negative"},
		{"umask", &guestpb.ExecStart{Umask: new(uint32(0o1000))}, codes.InvalidArgument, "umask 01000 is more than 0777"},
		{"unknown user", &guestpb.ExecStart{User: "kindling-none"}, codes.InvalidArgument, `look for user "kindling-none": not in /etc/passwd of the image`},
		{"unknown group", &guestpb.ExecStart{User: "0:kindling-none"}, codes.InvalidArgument, `look for user "0:kindling-none": group is not in /etc/group of the image`},
		{"unknown resource", limited(&guestpb.ResourceLimit{Resource: 16}), codes.InvalidArgument, "resource 16 is not below 16"},
		{"two limits", limited(&guestpb.ResourceLimit{Resource: 4}, &guestpb.ResourceLimit{Resource: 4}), codes.InvalidArgument, "resource 4 has two limits"},
		{"soft limit", limited(&guestpb.ResourceLimit{Resource: 4, Soft: 2, Hard: 1}), codes.InvalidArgument, "soft limit of resource 4 is above the hard one"},
		{"limit above the kernel's", limited(&guestpb.ResourceLimit{Resource: unix.RLIMIT_NOFILE, Hard: 1 << 40}), codes.Unknown,
			"start command: set resource limit 7: operation not permitted"},
		{"long name", &guestpb.ExecStart{ExecId: strings.Repeat("x", maxExecID+1)}, codes.InvalidArgument, "name of command has more than 256 bytes"},
	}
	client := dial(t, Options{Env: os.Environ()})
	before := descriptors(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			end := mustStart(t, client, test.start).end()
			if got := status.Convert(end.err); got.Code() != test.code || !strings.Contains(got.Message(), test.text) {
				t.Errorf("got %v, %.200q, want %v, %q", got.Code(), got.Message(), test.code, test.text)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("took %v, want 4s at most", took)
			}
		})
	}
	wantNoChildren(t)
	runtime.GC()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}
