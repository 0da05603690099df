package main

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// startRun has a user run a machine that stops as stopped says.
func startRun(t *testing.T, name, stopped string) *user {
	t.Helper()
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, stopped)
	u := startUser(t, "run", "--name", name)
	u.see(t, "up\n")
	return u
}

func TestStop(t *testing.T) {
	h := newHost(t)
	web := startRun(t, "web", "bye\r\n"+sentinel(3, "exit code 3"))
	db := startRun(t, "db", "ciao\r\n"+sentinel(0, "exit code 0"))
	want := result{exitOwn, "web\ndb\n", "kindling: no machine called none is running\n"}
	if diff := cmp.Diff(want, kindling("stop", "web", "none", "db")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{3, "bye\n", ""}, web.wait(t)); diff != "" {
		t.Errorf("run of web (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{0, "ciao\n", ""}, db.wait(t)); diff != "" {
		t.Errorf("run of db (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestStopStubborn(t *testing.T) {
	tests := []struct {
		limit string
		want  result
	}{
		{"1", result{0, "web\n", "kindling: machine web did not stop within 1s and was killed\n"}},
		{"0", result{0, "web\n", ""}},
	}
	for _, test := range tests {
		t.Run(test.limit, func(t *testing.T) {
			h := newHost(t)
			u := startRun(t, "web", stubborn)
			if diff := cmp.Diff(test.want, kindling("stop", "-t", test.limit, "web")); diff != "" {
				t.Errorf("stop (-want +got):\n%s", diff)
			}
			if got := u.wait(t); got.Code != exitOwn {
				t.Errorf("run: got %+v, want code %d", got, exitOwn)
			}
			h.requireReleased(t)
		})
	}
}

// A machine whose process does not answer either is killed nevertheless.
func TestStopHung(t *testing.T) {
	h := newHost(t)
	u := startRun(t, "web", stubborn)
	u.signal(t, syscall.SIGSTOP)
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "-t", "0", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if got := u.wait(t); got.Code != -1 {
		t.Errorf("run: got %+v, want it killed", got)
	}
	h.programs.AwaitGone(t)
}
