package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
)

// TestEndsProcesses checks that what the application leaves behind is asked to
// end, and that the agent is not started again meanwhile.
func TestEndsProcesses(t *testing.T) {
	dir := t.TempDir()
	agentFile, leftFile := filepath.Join(dir, "agent"), filepath.Join(dir, "left")
	wait := "; while :; do sleep 0.01; done"
	agent := script(t, "trap 'echo ended >>"+agentFile+"; exit 0' TERM; echo started >>"+agentFile+"; printf x >&3"+wait)
	left := "(trap 'echo ended >>" + leftFile + "; exit 0' TERM; echo started >>" + leftFile + wait + ") & "
	g := startGuest(t, agent)
	g.configure(t, &contract.Config{Cmd: sh(left + waitLines(agentFile, "1") + waitLines(leftFile, "1") + "exit 5")})
	start := time.Now()
	if _, outcome := g.finish(t); outcome != contract.NewExitInfo(5) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(5))
	}
	if took := time.Since(start); took > 30*time.Second { // the grace is a minute
		t.Errorf("took %v, as if nobody had ended", took)
	}
	for _, file := range []string{agentFile, leftFile} {
		if text, err := os.ReadFile(file); string(text) != "started\nended\n" || err != nil {
			t.Errorf("%s: %q, %v", filepath.Base(file), text, err)
		}
	}
}

// TestKillsProcesses checks that what does not end is killed, and that all of it
// is gone before the outcome.
func TestKillsProcesses(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	const deaf = "trap '' TERM; while :; do sleep 0.01; done"
	g := startGuest(t, "/bin/false", "100ms")
	g.configure(t, &contract.Config{
		Cmd:            sh("sh -c \"" + deaf + "\" & echo $! >" + pidFile + "; exit 5"),
		SkipGuestAgent: true, Env: map[string]string{"PATH": "/bin:/usr/bin"},
	})
	if _, outcome := g.finish(t); outcome != contract.NewExitInfo(5) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(5))
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); !os.IsNotExist(err) {
		t.Errorf("process %s is there still: %v", pid, err)
	}
}

func TestMountPoints(t *testing.T) {
	const mountinfo = "21 1 0:20 / / rw - overlay overlay rw\n" +
		"22 21 0:21 / /proc rw,nosuid - proc proc rw\n" +
		`23 21 254:48 / /a\040b\134c rw - ext4 /dev/vdd rw` + "\n" +
		"short line\n" +
		`24 21 0:22 / /sysx\08 rw shared:1 - tmpfs tmpfs rw`
	got := mountPoints([]byte(mountinfo))
	if diff := cmp.Diff([]string{"/", "/proc", `/a b\c`, `/sysx\08`}, got); diff != "" {
		t.Errorf("mount points (-want +got):\n%s", diff)
	}
	got = slices.DeleteFunc([]string{"/dev", "/dev/shm", "/proc", "/sys/fs/cgroup", "/system", "/", "/developer"}, isKernels)
	if diff := cmp.Diff([]string{"/system", "/", "/developer"}, got); diff != "" {
		t.Errorf("not the kernel's (-want +got):\n%s", diff)
	}
}
