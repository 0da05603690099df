package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// runDetached has a machine run behind a kindling that has ended.
func runDetached(t *testing.T, args ...string) machine {
	t.Helper()
	if diff := cmp.Diff(result{0, "web\n", ""}, startUser(t, append([]string{"run", "-d", "--name", "web"}, args...)...).wait(t)); diff != "" {
		t.Fatalf("run -d (-want +got):\n%s", diff)
	}
	return inspect(t, "web")
}

func inspect(t *testing.T, name string) machine {
	t.Helper()
	m := machine{}
	if err := json.Unmarshal([]byte(kindling("inspect", name).Stdout), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRunDetached(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(3, "exit code 3"))
	m := runDetached(t, "-e", "TOKEN=secret-value", "--", "app")
	if m.State != stateRunning || !cmp.Equal(m.Command, []string{"app"}) || !cmp.Equal(m.Env, []string{"TOKEN"}) {
		t.Errorf("got %+v", m)
	}
	if session, err := unix.Getsid(m.PID); err != nil || session != m.PID {
		t.Errorf("got session %d, error %v, want one of its own, %d", session, err, m.PID)
	}
	if arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.PID)); err != nil || strings.Contains(string(arguments), "secret-value") {
		t.Errorf("got arguments %q, error %v, want no secret in them", arguments, err)
	}
	reader := startUser(t, "logs", "-f", "web")
	reader.see(t, "up\n")
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{0, "bye\n", ""}, reader.wait(t)); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if m := inspect(t, "web"); m.State != stateExited || m.ExitCode == nil || *m.ExitCode != 3 {
		t.Errorf("got %+v, want exit code 3", m)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}

func TestRunDetachedIsKilled(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stubborn)
	m := runDetached(t)
	if err := unix.Kill(m.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.programs.AwaitGone(t)
	if m := inspect(t, "web"); m.State != stateLost || m.PID != 0 {
		t.Errorf("got %+v, want it lost", m)
	}
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("rm", "web")); diff != "" {
		t.Errorf("rm (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestRunDetachedRemoves(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stubborn)
	runDetached(t)
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("rm", "-f", "web")); diff != "" {
		t.Errorf("rm (-want +got):\n%s", diff)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}

// What goes wrong before the machine runs is said at once.
func TestRunDetachedFails(t *testing.T) {
	h := newHost(t)
	want := result{exitOwn, "", "kindling: load image \"./none.tar\": stat ./none.tar: no such file or directory\n"}
	if diff := cmp.Diff(want, startUser(t, "run", "-d", "./none.tar").wait(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

// What goes wrong later is for those who ask.
func TestRunDetachedFailsLater(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stubborn)
	runDetached(t)
	if got := kindling("stop", "-t", "0", "web"); got.Code != 0 {
		t.Fatalf("stop: got %+v", got)
	}
	h.programs.AwaitGone(t)
	m := inspect(t, "web")
	const want = " signal received, then "
	if m.State != stateExited || m.ExitCode == nil || *m.ExitCode != exitOwn || !strings.Contains(m.Error, want) {
		t.Errorf("got %+v, want an error with %q", m, want)
	}
	text, err := os.ReadFile(filepath.Join(h.state, endedFolder, "web", supervisorFile))
	if err != nil || string(text) != "kindling: "+m.Error+"\n" {
		t.Errorf("got log %q, error %v, want %q", text, err, m.Error)
	}
}

// An interrupted user wants no machine.
func TestRunDetachedIsInterrupted(t *testing.T) {
	h := newHost(t)
	state, err := lockClaims(h.state) // keeps the machine from its start
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(stoppedEnv, stubborn)
	u := startUser(t, "run", "-d", "--name", "web")
	u.signal(t, syscall.SIGINT)
	if err := state(); err != nil {
		t.Fatal(err)
	}
	if got := u.wait(t); got.Code == 0 || got.Stdout != "" {
		t.Errorf("got %+v, want a failure", got)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}
