package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/vm/agent"
)

// zeros is an endless input.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestExec(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/bin/sh", filepath.Join(dir, "kindling-sh")); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name           string
		o              agent.ExecOptions
		stdin          func() io.Reader
		code           int
		stdout, stderr string
		errText        string
		errCode        codes.Code
	}{
		{
			name: "output", o: agent.ExecOptions{Command: []string{"echo", "hello", "", "a b"}},
			stdout: "hello  a b\n",
		},
		{
			name: "input and its end", o: agent.ExecOptions{Command: []string{"cat"}}, stdin: func() io.Reader { return strings.NewReader("foo\nbar") },
			stdout: "foo\nbar",
		},
		{name: "no input", o: agent.ExecOptions{Command: []string{"cat"}}},
		{name: "empty input", o: agent.ExecOptions{Command: []string{"cat"}}, stdin: func() io.Reader { return strings.NewReader("") }},
		{
			name: "much input", o: agent.ExecOptions{Command: []string{"wc", "-c"}}, stdin: func() io.Reader { return io.LimitReader(zeros{}, 32_000_000) },
			stdout: "32000000\n",
		},
		{
			name: "input that nobody reads", o: agent.ExecOptions{Command: []string{"true"}}, stdin: func() io.Reader { return zeros{} },
		},
		{
			name: "input after it is closed", o: agent.ExecOptions{Command: sh("exec <&-; echo closed")}, stdin: func() io.Reader { return io.LimitReader(zeros{}, 1<<20) },
			stdout: "closed\n",
		},
		{
			name: "separate outputs", o: agent.ExecOptions{Command: sh("echo out; echo err >&2; echo more")},
			stdout: "out\nmore\n", stderr: "err\n",
		},
		{name: "no output wanted", o: agent.ExecOptions{Command: sh("echo out; echo err >&2")}},
		{name: "exit code 0", o: agent.ExecOptions{Command: []string{"true"}}},
		{name: "exit code 7", o: agent.ExecOptions{Command: sh("exit 7")}, code: 7},
		{name: "exit code 255", o: agent.ExecOptions{Command: sh("exit 255")}, code: 255},
		{name: "signal", o: agent.ExecOptions{Command: sh("kill -TERM $$")}, code: -1},
		{name: "killed", o: agent.ExecOptions{Command: sh("echo before; kill -KILL $$")}, code: -1, stdout: "before\n"},
		{
			name: "shell without a command", o: agent.ExecOptions{}, stdin: func() io.Reader { return strings.NewReader("echo from shell\nexit 3\n") },
			code: 3, stdout: "from shell\n",
		},
		{
			name: "environment", o: agent.ExecOptions{
				Command: sh(`echo "$KINDLING_BASE $KINDLING_NEW"`), Env: map[string]string{"KINDLING_NEW": "a=b c"}},
			stdout: "base a=b c\n",
		},
		{
			name: "environment replaced", o: agent.ExecOptions{
				Command: []string{"env"}, Env: map[string]string{"KINDLING_BASE": "", "PATH": "/bin:/usr/bin"}},
			stdout: "KINDLING_BASE=\nPATH=/bin:/usr/bin\n",
		},
		{
			name: "PATH of the request", o: agent.ExecOptions{
				Command: []string{"kindling-sh", "-c", "echo found"}, Env: map[string]string{"PATH": dir}},
			stdout: "found\n",
		},
		{
			name: "program not in PATH", o: agent.ExecOptions{Command: []string{"kindling-sh"}},
			errCode: codes.Unknown, errText: `start command: exec: "kindling-sh": executable file not found in $PATH`,
		},
		{
			name: "missing program", o: agent.ExecOptions{Command: []string{"/kindling/none"}},
			errCode: codes.Unknown, errText: "start command: fork/exec /kindling/none: no such file or directory",
		},
		{
			name: "directory as program", o: agent.ExecOptions{Command: []string{"/"}},
			errCode: codes.Unknown, errText: "start command: fork/exec /: permission denied",
		},
		{
			name: "working directory", o: agent.ExecOptions{Command: sh("pwd -P"), Dir: "/usr"},
			stdout: "/usr\n",
		},
		{
			name: "relative program", o: agent.ExecOptions{Command: []string{"./kindling-sh", "-c", "echo found"}, Dir: dir},
			stdout: "found\n",
		},
		{
			name: "missing working directory", o: agent.ExecOptions{Command: []string{"true"}, Dir: "/kindling/none"},
			errCode: codes.Unknown, errText: "start command: chdir /kindling/none: no such file or directory",
		},
		{
			name: "name with equals sign", o: agent.ExecOptions{Command: []string{"true"}, Env: map[string]string{"A=B": "c"}},
			errCode: codes.InvalidArgument, errText: `environment variable "A=B": not a name`,
		},
		{
			name: "long name", o: agent.ExecOptions{Command: []string{strings.Repeat("\u00e4", 1<<20)}},
			errCode: codes.Unknown, errText: `start command: exec: "` + "\u00e4\u00e4",
		},
		{
			name: "request over the message limit", o: agent.ExecOptions{Command: []string{"echo", strings.Repeat("a", 5<<20)}},
			errCode: codes.ResourceExhausted, errText: "received message larger than max",
		},
		{
			name: "not valid UTF-8", o: agent.ExecOptions{Command: []string{"\xff"}},
			errCode: codes.Internal, errText: "invalid UTF-8",
		},
		{
			name: "within its time", o: agent.ExecOptions{Command: sh("exit 4"), Timeout: patience},
			code: 4,
		},
		{
			name: "over its time", o: agent.ExecOptions{Command: sh("echo early; sleep 1000"), Timeout: time.Millisecond},
			code: -1, stdout: "early\n",
		},
		{
			name: "negative time", o: agent.ExecOptions{Timeout: -1},
			errCode: codes.Unknown, errText: "exec in guest: timeout -1ns is negative",
		},
		{
			name: "time out of range", o: agent.ExecOptions{Timeout: 1 << 62},
			errCode: codes.Unknown, errText: "is more than 2147483647 seconds",
		},
		{
			name: "input fails", o: agent.ExecOptions{Command: []string{"cat"}}, stdin: func() io.Reader { return io.MultiReader(strings.NewReader("a"), failing{}) },
			errCode: codes.Unknown, errText: "exec in guest: read stdin: cut off",
		},
	}
	onTransports(t, func(t *testing.T, c *agent.Client) {
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				o := test.o
				var stdout, stderr bytes.Buffer
				if test.stdin != nil {
					o.Stdin = test.stdin()
				}
				if test.name != "no output wanted" {
					o.Stdout, o.Stderr = &stdout, &stderr
				}
				code, err := exitCode(c.Exec(limited(t), o))
				if test.errText != "" {
					if code != -1 || status.Code(err) != test.errCode || !strings.Contains(err.Error(), test.errText) {
						t.Errorf("got %d, code %v, %v, want -1, code %v, %q", code, status.Code(err), err, test.errCode, test.errText)
					}
					return
				}
				if code != test.code || err != nil {
					t.Errorf("got %d, %v, want %d", code, err, test.code)
				}
				if stdout.String() != test.stdout || stderr.String() != test.stderr {
					t.Errorf("got output %q, %q, want %q, %q", &stdout, &stderr, test.stdout, test.stderr)
				}
			})
		}
	})
}

// failing is an input or output that fails.
type failing struct{}

var errCutOff = errors.New("cut off")

func (failing) Read([]byte) (int, error)  { return 0, errCutOff }
func (failing) Write([]byte) (int, error) { return 0, errCutOff }

// family is a command with a grandchild, of which both tell their numbers.
const family = "sleep 1000 & echo $$ $!; wait"

func TestExecEndsGroup(t *testing.T) {
	tests := []struct {
		name string
		// run runs family and makes it end.
		run     func(ctx context.Context, c *agent.Client, w *watcher) (int, error)
		wantErr error // with exit code -1 in any case
	}{
		{"timeout", func(ctx context.Context, c *agent.Client, w *watcher) (int, error) {
			return exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh(family), Stdout: w, Timeout: time.Second}))
		}, nil},
		{"cancel", func(ctx context.Context, c *agent.Client, w *watcher) (int, error) {
			ctx, cancel := context.WithCancel(ctx)
			w.then = cancel
			return exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh(family), Stdout: w}))
		}, context.Canceled},
		{"writer fails", func(ctx context.Context, c *agent.Client, w *watcher) (int, error) {
			return exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh(family), Stdout: io.MultiWriter(w, failing{})}))
		}, errCutOff},
		{"cancel while it ignores signals and writes", func(ctx context.Context, c *agent.Client, w *watcher) (int, error) {
			ctx, cancel := context.WithCancel(ctx)
			w.then = cancel
			return exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh("trap '' TERM HUP INT PIPE; sleep 1000 & echo $$ $!; yes"), Stdout: w}))
		}, context.Canceled},
		{"cancel after the command", func(ctx context.Context, c *agent.Client, w *watcher) (int, error) {
			ctx, cancel := context.WithCancel(ctx)
			w.then = func() {
				w.awaitEnd(w.files[0])
				cancel()
			}
			return exitCode(c.Exec(ctx, agent.ExecOptions{Command: sh("sleep 1000 & echo $$ $!"), Stdout: w}))
		}, context.Canceled},
	}
	onTransports(t, func(t *testing.T, c *agent.Client) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				w := &watcher{t: t}
				code, err := test.run(limited(t), c, w)
				if code != -1 || !errors.Is(err, test.wantErr) {
					t.Errorf("got %d, %v, want -1, %v", code, err, test.wantErr)
				}
				w.requireEnd(2)
			})
		}
		t.Run("client goes away", func(t *testing.T) {
			w := &watcher{t: t, then: func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}}
			code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{Command: sh(family), Stdout: w}))
			if code != -1 || status.Code(err) != codes.Canceled {
				t.Errorf("got %d, %v, want -1, code %v", code, err, codes.Canceled)
			}
			w.requireEnd(2)
		})
	})
}

// TestExecLeavesDaemon has processes that outlive the command and keep its
// pipes. They are left alone, but not awaited.
func TestExecLeavesDaemon(t *testing.T) {
	for _, script := range []string{"sleep 1000 & echo $!; exit 5", "setsid sleep 1000 & echo $!; exit 5", "yes >&2 & echo $!; exit 5"} {
		t.Run(script, func(t *testing.T) {
			onTransports(t, func(t *testing.T, c *agent.Client) {
				w := &watcher{t: t}
				code, err := exitCode(c.Exec(limited(t), agent.ExecOptions{Command: sh(script), Stdout: w}))
				if code != 5 || err != nil {
					t.Errorf("got %d, %v, want 5", code, err)
				}
				for _, f := range w.files {
					var pid int
					if _, err := fmt.Sscanf(f.Name(), "process %d", &pid); err != nil {
						t.Fatal(err)
					}
					// One that writes has ended: nobody reads the pipe any more.
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !strings.HasPrefix(script, "yes") {
						t.Errorf("kill left process: %v", err)
					}
				}
				w.requireEnd(1)
			})
		})
	}
}

// TestExecParallel has commands that all run before one of them goes on, each
// with many messages in both directions.
func TestExecParallel(t *testing.T) {
	const commands, rounds = 8, 25
	onTransports(t, func(t *testing.T, c *agent.Client) {
		group, ctx := errgroup.WithContext(limited(t))
		ready := make(chan struct{}, commands)
		release := make(chan struct{})
		for i := range commands {
			inR, inW := io.Pipe()
			outR, outW := io.Pipe()
			group.Go(func() error {
				code, err := exitCode(c.Exec(ctx, agent.ExecOptions{Command: []string{"cat"}, Stdin: inR, Stdout: outW}))
				if code != 0 && err == nil {
					err = fmt.Errorf("command %d: exit code %d", i, code)
				}
				return errors.Join(err, inR.CloseWithError(err), outW.CloseWithError(err))
			})
			group.Go(func() error {
				for round := range rounds {
					want := fmt.Sprintf("command %d round %d\n", i, round)
					if _, err := io.WriteString(inW, want); err != nil {
						return err
					}
					got := make([]byte, len(want))
					if _, err := io.ReadFull(outR, got); err != nil {
						return err
					}
					if string(got) != want {
						return fmt.Errorf("got %q, want %q", got, want)
					}
					if round == 0 {
						ready <- struct{}{}
						<-release
					}
				}
				return inW.Close()
			})
		}
		for range commands {
			select {
			case <-ready:
			case <-ctx.Done():
			}
		}
		close(release)
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}
