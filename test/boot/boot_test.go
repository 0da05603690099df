//go:build vm

package boot

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent"
)

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
	if diff := cmp.Diff(want.String(), kernelLine.ReplaceAllString(got.output, "")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	var programs []string
	for _, match := range regexp.MustCompile(`sched_process_exec: filename=(\S+)`).FindAllStringSubmatch(got.serial, -1) {
		if match[1] == "/bin/sh" {
			break
		}
		programs = append(programs, match[1])
	}
	if diff := cmp.Diff([]string{"/init", contract.AgentPath}, programs); diff != "" {
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
