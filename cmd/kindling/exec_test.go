package main

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
)

// startMachine makes this process that of a machine whose agent answers.
func startMachine(t *testing.T, name string) {
	t.Helper()
	startMachineWith(t, name, func(listener net.Listener) { _ = serveAgent(listener, nil) })
}

// startMachineWith has an agent that serves until the listener is closed.
func startMachineWith(t *testing.T, name string, serve func(net.Listener)) {
	t.Helper()
	h := newHost(t)
	dir, release, err := claim(h.state, name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", vm.Vsock(dir))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(listener)
	}()
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		<-served
		if err := release(); err != nil {
			t.Error(err)
		}
	})
}

func TestExec(t *testing.T) {
	startMachine(t, "web")
	t.Setenv("KINDLING_TEST_PASSED", "on")
	sh := func(script string) []string { return []string{"web", "--", "sh", "-c", script} }
	tests := []struct {
		name string
		args []string
		want result
	}{
		{"output", sh("echo out; echo err >&2"), result{0, "out\n", "err\n"}},
		{"arguments of the command", []string{"web", "--", "echo", "-i", "--", "-w", ""}, result{0, "-i -- -w \n", ""}},
		{"exit code", sh("exit 7"), result{7, "", ""}},
		{"highest exit code", sh("exit 255"), result{255, "", ""}},
		{"no input", []string{"web", "--", "cat"}, result{0, "", ""}},
		{"input", []string{"-i", "web", "--", "cat"}, result{0, "in\n", ""}},
		{"flag behind the name", []string{"web", "-i", "--", "cat"}, result{0, "in\n", ""}},
		{"variable", []string{"-e", "A=b c", "-e", "B=", "-e", "HOME_OF_NOBODY", "--env", "KINDLING_TEST_PASSED", "web", "--",
			"sh", "-c", "echo $A ${B-unset} ${HOME_OF_NOBODY-unset} $KINDLING_TEST_PASSED"}, result{0, "b c unset on\n", ""}},
		{"in its time", []string{"--timeout", "1m", "web", "--", "true"}, result{}},
		{"terminal without one", []string{"-it", "web", "--", "true"}, result{125, "", "kindling: the input device is not a terminal; -t without -i needs none\n"}},
		{"folder", []string{"-w", "/usr", "web", "--", "pwd"}, result{0, "/usr\n", ""}},
		{"not found", []string{"web", "--", "nosuch"}, result{127, "", "kindling: exec: \"nosuch\": executable file not found in $PATH\n"}},
		{"path not found", []string{"web", "--", "/no/such"}, result{127, "", "kindling: fork/exec /no/such: no such file or directory\n"}},
		{"not executable", []string{"web", "--", "/usr"}, result{126, "", "kindling: fork/exec /usr: permission denied\n"}},
		{"name that says otherwise", []string{"web", "--", "/usr/../no such file or directory/../usr"}, result{127, "", "kindling: fork/exec /usr/../no such file or directory/../usr: no such file or directory\n"}},
		{"folder not found", []string{"-w", "/no/such", "web", "--", "true"}, result{127, "", "kindling: chdir /no/such: no such file or directory\n"}},
		{"own failure", []string{"web", "--", "echo", "\xff"}, result{125, "", "kindling: exec in guest: rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8\n"}},
		{"other machine", []string{"other", "--", "true"}, result{125, "", "kindling: no machine called other is running\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"exec"}, test.args...), strings.NewReader("in\n"), &stdout, &stderr)
			if diff := cmp.Diff(test.want, result{code, stdout.String(), stderr.String()}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
