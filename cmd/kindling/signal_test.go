package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const upAndRunning = "[    0.1] Linux\r\n" + started + "up\r\n"

func TestInterruptedOnce(t *testing.T) {
	for _, sig := range stopSignals {
		t.Run(sig.String(), func(t *testing.T) {
			h := newHost(t)
			t.Setenv(serialEnv, upAndRunning)
			t.Setenv(stoppedEnv, gotSignal+"\r\n"+sentinel(3, "exit code 3"))
			u := startUser(t, "run")
			u.see(t, "up\n")
			u.signal(t, sig)
			if diff := cmp.Diff(result{3, unix.SignalName(sig.(syscall.Signal)) + "\n", ""}, u.wait(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			h.requireReleased(t)
		})
	}
}

func TestInterruptedTwice(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stubborn)
	u := startUser(t, "run")
	u.see(t, "up\n")
	u.signal(t, syscall.SIGINT)
	u.signal(t, syscall.SIGTERM) // another, since two of a kind can become one
	// Which of them comes first is open.
	if got := u.wait(t); got.Code != 125 || got.Stdout != "" || !strings.Contains(got.Stderr, " signal received, then ") {
		t.Errorf("got %+v, want code 125 and a message about both signals", got)
	}
	h.requireReleased(t)
}

func TestStopGently(t *testing.T) {
	tests := []struct {
		signals []os.Signal
		want    string
		after   time.Duration
	}{
		{nil, "interrupted, and the guest did not stop within 5s", stopTimeout},
		{[]os.Signal{syscall.SIGINT}, "interrupted, and the guest did not stop within 5s", stopTimeout},
		{[]os.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGHUP}, "interrupted, and the guest did not stop within 5s", stopTimeout},
		{[]os.Signal{syscall.SIGINT, syscall.SIGINT}, "interrupted, then interrupt", 0},
		{[]os.Signal{syscall.SIGHUP, syscall.SIGTERM}, "interrupted, and the guest did not stop within 5s", stopTimeout},
		{[]os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM}, "interrupted, then terminated", 0},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithCancelCause(t.Context())
			interrupt(errors.New("interrupted"))
			signals := make(chan os.Signal, 3)
			for _, sig := range test.signals {
				signals <- sig
			}
			begin := time.Now()
			err := stopGently(ctx, t.Context(), "/nowhere", "SIGTERM", signals)
			if err == nil || err.Error() != test.want || time.Since(begin) != test.after {
				t.Errorf("%v: got error %v after %v, want %q after %v", test.signals, err, time.Since(begin), test.want, test.after)
			}
		})
	}
}

// A killed kindling takes its machine along, and the next one its files.
func TestKilled(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stubborn)
	u := startUser(t, "run", "--name", "web")
	u.see(t, "up\n")
	u.signal(t, syscall.SIGKILL)
	if got := u.wait(t); got.Code != -1 {
		t.Errorf("got %+v, want it killed", got)
	}
	// The hypervisor has our signal, but may not have ended.
	h.programs.AwaitGone(t)
	if diff := cmp.Diff([]string{"vm/web", "lock/web"}, h.machineFiles(t)); diff != "" {
		t.Errorf("files of a killed machine (-want +got):\n%s", diff)
	}
	if got := kindling("exec", "web", "--", "true"); got.Code != 125 || got.Stderr != "kindling: no machine called web is running\n" {
		t.Errorf("exec in a killed machine: got %+v", got)
	}
	t.Setenv(stoppedEnv, "")
	t.Setenv(serialEnv, exited("again\r\n", 0))
	if diff := cmp.Diff(result{0, "again\n", ""}, kindling("run", "--name", "other")); diff != "" {
		t.Errorf("next machine (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

// As in `kindling run | head -1`.
func TestReaderOfOutputGoesAway(t *testing.T) {
	h := newHost(t)
	output := strings.Repeat("0123456789abcde\r\n", 4<<10)
	t.Setenv(serialEnv, exited(output, 0))
	log := filepath.Join(t.TempDir(), "log")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command("kindling", "run", "--serial-log", log)
	cmd.Stdout, cmd.Stderr = write, &stderr
	err = cmd.Run()
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "kindling: write /dev/stdout: broken pipe\n"; cmd.ProcessState.ExitCode() != 125 || stderr.String() != want {
		t.Errorf("got %v, message %q, want code 125 and %q", err, stderr.String(), want)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != exited(output, 0) {
		t.Errorf("serial log has %d bytes, want all %d", len(got), len(exited(output, 0)))
	}
	h.requireReleased(t)
}
