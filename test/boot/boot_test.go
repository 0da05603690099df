//go:build vm

package boot

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/agent/agentconformance"
)

// maxConsole bounds what a boot with the set's command line may write to the
// console, in bytes. A serial port of 115200 baud takes 178 ms for so much, and
// hosts keep it.
const maxConsole = 2 << 10

// TestExit checks outcome and output, and how much else is on the console.
func TestExit(t *testing.T) {
	tests := []struct {
		name   string
		argv   []string
		want   contract.ExitInfo
		output string
	}{
		{"success", []string{"echo", "-n", "no newline"}, contract.ExitInfo{Code: 0, Message: "success"}, "no newline"},
		{"not found", []string{"no-such-command"}, contract.ExitInfo{Code: 127, Message: "command not found"}, ""},
		{"killed", []string{"sh", "-c", "echo dying; kill -KILL $$"}, contract.ExitInfo{Code: 137, Message: "killed by signal 9 (killed)"}, "dying\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := boot(t, options{config: &contract.Config{Cmd: test.argv}})
			if diff := cmp.Diff(test.want, got.exit); diff != "" {
				t.Errorf("exit information (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.output, got.output); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if size := got.consoleBytes(); size > maxConsole {
				t.Errorf("boot wrote %d bytes to the console, want at most %d:\n%s", size, maxConsole, got.serial)
			}
		})
	}
}

// TestAarch64 boots the other architecture, which takes a few times as long.
func TestAarch64(t *testing.T) {
	t.Parallel()
	got := boot(t, options{arch: "aarch64", config: &contract.Config{Cmd: []string{"sh", "-c", "uname -m; exit 9"}}})
	if diff := cmp.Diff(contract.ExitInfo{Code: 9, Message: "exit code 9"}, got.exit); diff != "" {
		t.Errorf("exit information (-want +got):\n%s", diff)
	}
	if want := "aarch64\n"; got.output != want {
		t.Errorf("output = %q, want %q", got.output, want)
	}
}

// TestEnvironment checks that values reach the application as they are, and
// that nothing but init and the agent was executed before it.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"EMPTY":    "",
		"SPACES":   "  a  b ",
		"QUOTES":   `'"'"'$(reboot)` + "`reboot`",
		"NEWLINES": "a\nb\n",
		"UNICODE":  "ü\u2028\U0001F525",
		"EQUALS":   "a=b=c",
		"BYTES":    "\x01\x1b[31m\x7f",
	}
	var script strings.Builder
	for _, key := range slices.Sorted(maps.Keys(env)) {
		script.WriteString(`printf %s "$` + key + `" | base64 -w 0; echo; `)
	}
	script.WriteString(`echo "$PATH $HOME $PWD"`)
	got := boot(t, options{
		config: &contract.Config{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{script.String()}, Workdir: "/srv/made", Env: env},
		// The kernel prints every program that it starts.
		cmdline: "console=ttyS0 panic=-1 loglevel=7 trace_event=sched:sched_process_exec tp_printk",
	})
	var want strings.Builder
	for _, key := range slices.Sorted(maps.Keys(env)) {
		want.WriteString(base64.StdEncoding.EncodeToString([]byte(env[key])) + "\n")
	}
	want.WriteString(contract.DefaultPath + " " + contract.DefaultHome + " /srv/made\n")
	// The end of a line of the agent's that a line of the kernel's has broken
	// looks like the application's.
	if diff := cmp.Diff(want.String(), strings.TrimLeft(kernelLine.ReplaceAllString(got.output, ""), "\n")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	var programs []string
	for _, match := range regexp.MustCompile(`sched_process_exec: filename=(\S+)`).FindAllStringSubmatch(got.serial, -1) {
		if match[1] == "/bin/sh" {
			break
		}
		programs = append(programs, match[1])
	}
	if diff := cmp.Diff([]string{"/init"}, programs); diff != "" {
		t.Errorf("programs started before the application (-want +got):\n%s\nserial output:\n%s", diff, got.serial)
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	got := boot(t, options{
		config: &contract.Config{Cmd: []string{"sh", "-c", "until test -e /tmp/done; do sleep 0.1; done; exit 7"}},
		running: func(ctx context.Context, vsock string) {
			client, err := agent.NewHybridClient(vsock)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := client.WaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			exit, err := client.Exec(ctx, agent.ExecOptions{
				Command: []string{"sh", "-c", "cat; echo $GREETING >&2; exit 3"},
				Env:     map[string]string{"GREETING": "hello"},
				Stdin:   strings.NewReader("from the host"),
				Stdout:  &stdout,
				Stderr:  &stderr,
			})
			if err != nil || exit.Code != 3 || stdout.String() != "from the host" || stderr.String() != "hello\n" {
				t.Errorf("exec = %v, %v with output %q and %q, want 3 with %q and %q", exit, err, &stdout, &stderr, "from the host", "hello\n")
			}
			if exit, err := client.Exec(ctx, agent.ExecOptions{Command: []string{"touch", "/tmp/done"}}); !exit.Success() || err != nil {
				t.Errorf("exec = %v, %v", exit, err)
			}
		},
	})
	if diff := cmp.Diff(contract.ExitInfo{Code: 7, Message: "exit code 7"}, got.exit); diff != "" {
		t.Errorf("exit information (-want +got):\n%s", diff)
	}
}

// TestAgentConformance runs the suite against the agent in a machine.
func TestAgentConformance(t *testing.T) {
	t.Parallel()
	got := boot(t, options{
		config: &contract.Config{Cmd: []string{"sleep", "600"}, SkipKernelHeaders: true},
		running: func(ctx context.Context, vsock string) {
			client, err := agent.NewHybridClient(vsock)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := client.WaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			agentconformance.Run(t, agentconformance.Hybrid(vsock,
				agentconformance.TTY, agentconformance.Files, agentconformance.User, agentconformance.Limits,
				agentconformance.Signal, agentconformance.Stats, agentconformance.TTYEnd))
			// The agent is apart from what it runs, and the kernel's last choice.
			var out bytes.Buffer
			looks := "pid=$(pidof guest-agent); cat /proc/$pid/cgroup /proc/$pid/oom_score_adj /proc/self/cgroup /proc/self/oom_score_adj; grep -q . /sys/fs/cgroup/agent/memory.max; echo $?; cat /run/hypeman/guest-agent-ready | wc -l"
			if _, err := client.Exec(ctx, agent.ExecOptions{Command: []string{"sh", "-c", looks}, Stdout: &out, Stderr: &out}); err != nil {
				t.Error(err)
			}
			if want := "0::/agent\n-999\n0::/exec\n0\n0\n1\n"; out.String() != want {
				t.Errorf("agent and command are %q, want %q", &out, want)
			}
			if err := client.Shutdown(ctx, agent.ShutdownOptions{Grace: time.Second, Reason: "the suite is over"}); err != nil {
				t.Error(err)
			}
		},
	})
	if got.exit != contract.NewKillInfo(15) || !strings.Contains(got.serial, `shutdown: "the suite is over"`) {
		t.Errorf("ended with %v, log:\n%s", got.exit, got.serial)
	}
}

// TestAgentRefusesGuest has a process of the guest call the agent over vsock's
// loopback, and one of the host without the token.
func TestAgentRefusesGuest(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(runfile(t, "_main/test/boot/rawvsock/rawvsock_/rawvsock"))
	if err != nil {
		t.Fatal(err)
	}
	got := boot(t, options{
		initrd: runfile(t, "_main/test/boot/loopback_initrd.cpio"),
		image:  []v1.Layer{layer(t, map[string][]byte{"rawvsock": program}, file("rawvsock", 0o755))},
		config: &contract.Config{Cmd: []string{"sh", "-c", "until test -e /tmp/done; do sleep 0.1; done; /rawvsock call 1; /rawvsock call 3"}, User: "1000", AgentToken: "secret"},
		running: func(ctx context.Context, vsock string) {
			stranger, err := agent.NewHybridClient(vsock)
			if err != nil {
				t.Fatal(err)
			}
			client, err := agent.NewHybridClient(vsock, agent.WithToken("secret"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(stranger.Close(), client.Close()); err != nil {
					t.Error(err)
				}
			}()
			if err := client.WaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := stranger.Exec(ctx, agent.ExecOptions{Command: []string{"true"}}); !errors.Is(err, agent.ErrUnauthenticated) {
				t.Errorf("without token: got error %v, want %v", err, agent.ErrUnauthenticated)
			}
			if exit, err := client.Exec(ctx, agent.ExecOptions{Command: []string{"touch", "/tmp/done"}}); !exit.Success() || err != nil {
				t.Errorf("with token: %v, %v", exit, err)
			}
		},
	})
	if want := "connected, closed without a byte\nconnected, closed without a byte\n"; got.output != want || got.exit.Code != 0 {
		t.Errorf("exit %v, output %q, want %q\nserial output:\n%s", got.exit, got.output, want, got.serial)
	}
}

// TestBootFailure checks that a machine that cannot boot says why and powers
// off.
func TestBootFailure(t *testing.T) {
	t.Parallel()
	got := boot(t, options{config: &contract.Config{EgressProxy: &contract.EgressProxy{Enabled: true}}})
	want := contract.ExitInfo{Code: contract.ExitBootFailed, Message: "boot failed: config: egress_proxy is not served"}
	if diff := cmp.Diff(want, got.exit); diff != "" {
		t.Errorf("exit information (-want +got):\n%s", diff)
	}
}
