package server

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// noChildren tells whether all commands are reaped. It reaps none itself.
func noChildren() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return errors.Is(err, unix.ECHILD)
}

func wantNoChildren(t *testing.T) {
	t.Helper()
	if !noChildren() {
		t.Error("a child is left")
	}
}

func printedPID(t *testing.T, text string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || pid <= 1 {
		t.Fatalf("got %q, want the number of a process", text)
	}
	return pid
}

// killPrinted ends a process that a command has left behind, which must live.
func killPrinted(t *testing.T, text string) {
	t.Helper()
	if err := unix.Kill(printedPID(t, text), unix.SIGKILL); err != nil {
		t.Errorf("kill what the command left behind: %v", err)
	}
}

// wantGone waits until a process has ended.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "process "+strconv.Itoa(pid)+" is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		_, state, _ := strings.Cut(string(stat), ") ")
		return err != nil || strings.HasPrefix(state, "Z") // its new parent may take its time
	})
}
