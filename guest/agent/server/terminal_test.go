package server

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func onTerminal(argv ...string) *guestpb.ExecStart {
	return &guestpb.ExecStart{Command: argv, Tty: true}
}

// TestTerminal has commands on a terminal, which makes a carriage return of each
// newline's end and shows what is typed.
func TestTerminal(t *testing.T) {
	shell := func(script string) *guestpb.ExecStart { return onTerminal("/bin/sh", "-c", script) }
	sized := func(rows, cols uint32) *guestpb.ExecStart {
		return &guestpb.ExecStart{Command: []string{"stty", "size"}, Tty: true, Rows: rows, Cols: cols}
	}
	timed := shell("echo a; sleep 1000")
	timed.TimeoutSeconds = 1
	limited := shell("umask; ulimit -n")
	limited.Umask = new(uint32(0o77))
	limited.Rlimits = []*guestpb.ResourceLimit{{Resource: unix.RLIMIT_NOFILE, Soft: 20, Hard: 20}}
	vars := shell("echo $TERM $LANG $LC_ALL $COLORTERM")
	vars.Env = map[string]string{"LC_ALL": "C"}
	tests := []struct {
		name    string
		start   *guestpb.ExecStart
		input   []*guestpb.ExecRequest
		eof     bool
		stdout  string
		want    ending
		longest time.Duration
	}{
		{"is one", shell("test -t 0 && test -t 1 && test -t 2 && echo yes"), nil, false, "yes\r\n", ending{}, 0},
		{"controls", shell("echo direct >/dev/tty"), nil, false, "direct\r\n", ending{}, 0},
		{"all output is stdout", shell("echo err >&2; exit 3"), nil, false, "err\r\n", ending{code: 3}, 0},
		{"variables", vars, nil, false, "xterm-256color C.UTF-8 C truecolor\r\n", ending{}, 0},
		{"default size", sized(0, 0), nil, false, "24 80\r\n", ending{}, 0},
		{"size", sized(50, 132), nil, false, "50 132\r\n", ending{}, 0},
		{"greatest size", sized(65535, 65535), nil, false, "65535 65535\r\n", ending{}, 0},
		{"size above the kernel's", sized(65536, 1<<32-1), nil, false, "65535 65535\r\n", ending{}, 0},
		{"resize", shell("read x; stty size"), []*guestpb.ExecRequest{resized(10, 20), stdin("\n")}, false, "\r\n10 20\r\n", ending{}, 0},
		{"resize to nothing", shell("read x; stty size"), []*guestpb.ExecRequest{resized(0, 0), stdin("\n")}, false, "\r\n0 0\r\n", ending{}, 0},
		{"end of input", onTerminal("cat"), nil, true, "", ending{}, 0},
		{"end of input behind a line", onTerminal("cat"), []*guestpb.ExecRequest{stdin("foo\n")}, true, "foo\r\nfoo\r\n", ending{}, 0},
		{"end of input within a line", onTerminal("cat"), []*guestpb.ExecRequest{stdin("foo")}, true, "foofoo", ending{}, 0},
		{"end of input of a shell", onTerminal("/bin/sh", "-c", "cat; cat"), []*guestpb.ExecRequest{stdin("\x04")}, true, "", ending{}, 0},
		{"interrupt", onTerminal("sleep", "1000"), []*guestpb.ExecRequest{stdin("\x03")}, false, "^C", ending{code: -1, signal: 2}, 0},
		{"time over", timed, nil, false, "a\r\n", ending{code: -1, signal: 9, timedOut: true}, 3 * time.Second},
		{"much output", shell("head -c 300000 /dev/zero | tr '\\0' x"), nil, false, strings.Repeat("x", 300000), ending{}, 0},
		{"limits", limited, nil, false, "0077\r\n20\r\n", ending{}, 0},
	}
	client := dial(t, Options{Env: os.Environ()})
	before := descriptors(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			e := mustStart(t, client, test.start)
			e.send(t, test.input...)
			if test.eof {
				if err := e.stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			}
			if got := e.end(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if took := time.Since(began); took > max(test.longest, 5*time.Second) {
				t.Errorf("took %v", took)
			}
			// Whether a key is shown depends on who is first, it or the command.
			got := strings.ReplaceAll(e.stdout.String(), "^D\b\b", "")
			if diff := cmp.Diff(test.stdout, got); diff != "" {
				t.Errorf("output (-want +got):\n%.2000s", diff)
			}
		})
	}
	wantNoChildren(t)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// TestTerminalResizes has more of them than anybody can see.
func TestTerminalResizes(t *testing.T) {
	e := mustStart(t, dial(t, Options{Env: os.Environ()}), onTerminal("/bin/sh", "-c", "echo started; read x; stty size"))
	e.await(t, "started")
	const count = 10_000
	for i := range uint32(count) {
		e.send(t, resized(i+1, 1<<16-1-i))
	}
	e.send(t, stdin("\n"))
	if got := e.end(); got != (ending{}) {
		t.Errorf("got %+v", got)
	}
	if got, want := e.stdout.String(), "\r\n10000 55536\r\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at the end", got, want)
	}
}

// TestTerminalHeld has a process that keeps the terminal when the command ends,
// and does not care that it is hung up.
func TestTerminalHeld(t *testing.T) {
	t.Parallel()
	began := time.Now()
	e := mustStart(t, dial(t, Options{Env: os.Environ()}), onTerminal("/bin/sh", "-c", "trap '' HUP; sleep 1000 & echo $!; exit 4"))
	if got := e.end(); got != (ending{code: 4}) {
		t.Errorf("got %+v, want code 4", got)
	}
	if took := time.Since(began); took > outputGrace+3*time.Second {
		t.Errorf("took %v, want about %v", took, outputGrace)
	}
	killPrinted(t, e.stdout.String())
}

// TestTerminalSessionEnds has a job in a process group of its own, as shells
// with job control make them.
func TestTerminalSessionEnds(t *testing.T) {
	t.Parallel()
	client := dial(t, Options{Env: os.Environ()})
	job := onTerminal("/bin/sh", "-c", "set -m; sleep 1000 & echo $!; wait")
	t.Run("client gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(limited(t))
		defer cancel()
		e, err := startExec(ctx, client, job)
		if err != nil {
			t.Fatal(err)
		}
		e.await(t, "\n")
		cancel()
		wantGone(t, printedPID(t, e.stdout.String()))
	})
	t.Run("time over", func(t *testing.T) {
		job.TimeoutSeconds = 1
		e := mustStart(t, client, job)
		if got, want := e.end(), (ending{code: -1, signal: 9, timedOut: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		wantGone(t, printedPID(t, e.stdout.String()))
	})
}
