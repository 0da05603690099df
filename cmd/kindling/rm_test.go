package main

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRm(t *testing.T) {
	h := newHost(t)
	killed := startRun(t, "killed", stubborn)
	killed.signal(t, syscall.SIGKILL)
	killed.wait(t)
	h.programs.AwaitGone(t)
	t.Setenv(stoppedEnv, "")
	if diff := cmp.Diff(result{0, "killed\n", ""}, kindling("rm", "killed")); diff != "" {
		t.Errorf("rm of a lost machine (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
	t.Setenv(serialEnv, exited("", 0))
	if got := kindling("run", "--name", "ended"); got.Code != 0 {
		t.Fatalf("run: got %+v", got)
	}
	web := startRun(t, "web", stubborn)
	want := result{exitOwn, "ended\n", "kindling: machine web is running; kindling stop ends it, rm -f kills it\nno machine is called none\n"}
	if diff := cmp.Diff(want, kindling("rm", "web", "ended", "none")); diff != "" {
		t.Errorf("rm (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("rm", "-f", "web")); diff != "" {
		t.Errorf("rm -f (-want +got):\n%s", diff)
	}
	if got := web.wait(t); got.Code != exitOwn {
		t.Errorf("run: got %+v, want it killed", got)
	}
	if diff := cmp.Diff(result{0, "", ""}, kindling("ps", "-a", "-o", "id")); diff != "" {
		t.Errorf("ps (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}
