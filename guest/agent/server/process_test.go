package server

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func startSleep(t *testing.T) *process {
	t.Helper()
	p, err := start(&plan{cmd: &exec.Cmd{
		Path:        "/bin/sh",
		Args:        []string{"/bin/sh", "-c", "sleep 1000"},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAwaitHeldProcess has a process that does not end although it is killed,
// as if the kernel held it.
func TestAwaitHeldProcess(t *testing.T) {
	p := startSleep(t)
	synctest.Test(t, func(t *testing.T) {
		held := &process{cmd: p.cmd, stdin: p.stdin, stdout: p.stdout, stderr: p.stderr, exited: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		_, err := await(ctx, held, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "did not drain") {
			t.Errorf("got error %v, want did not drain", err)
		}
		if took := time.Since(start); took != killGrace {
			t.Errorf("took %v, want %v", took, killGrace)
		}
		close(held.exited) // released at last: it is reaped in the background
	})
	<-p.exited
	if err := syscall.Kill(p.cmd.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process is not reaped: kill: %v", err)
	}
}

// TestKillLeftGroup has a command that has moved to another process group.
func TestKillLeftGroup(t *testing.T) {
	p := startSleep(t)
	if err := unix.Setpgid(p.cmd.Process.Pid, unix.Getpgrp()); err != nil && !errors.Is(err, unix.EACCES) {
		t.Fatal(err)
	}
	if err := p.kill(); err != nil {
		t.Error(err)
	}
	<-p.exited
	if err := p.closePipes(); err != nil {
		t.Error(err)
	}
	if ended, err := p.reap(); ended != (outcome{code: -1, signal: unix.SIGKILL}) || err != nil {
		t.Errorf("got %+v, %v, want -1, a kill", ended, err)
	}
}

func TestRelayFileSendsWhatThePipeHolds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("x", 50_000)
	if _, err := w.WriteString(want); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	err = relayFile(r, func(b []byte) error {
		got = append(got, b...)
		return nil
	})
	if string(got) != want || err != nil {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
	if err := closeAll(r, w, w); err != nil {
		t.Error(err)
	}
}
