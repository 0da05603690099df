package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestStopSignal(t *testing.T) {
	const lost = "kindling: image's stop signal %q cannot reach its command, SIGTERM in its place\n"
	const notSystemd = "kindling: image's stop signal %q is not systemd's, SIGRTMIN+3 in its place\n"
	tests := []struct {
		image   string
		systemd bool
		want    string
		note    string // with the image's
	}{
		{"", false, "SIGTERM", ""},
		{"SIGTERM", false, "SIGTERM", ""},
		{"SIGQUIT", false, "SIGQUIT", ""},
		{"QUIT", false, "SIGQUIT", ""},
		{"sigquit", false, "SIGQUIT", ""},
		{"3", false, "SIGQUIT", ""},
		{"SIGINT", false, "SIGINT", ""},
		{"HUP", false, "SIGHUP", ""},
		{"USR1", false, "SIGUSR1", ""},
		{"12", false, "SIGUSR2", ""},
		{"SIGWINCH", false, "SIGWINCH", ""},
		{"SIGKILL", false, "SIGTERM", lost},
		{"9", false, "SIGTERM", lost},
		{"0", false, "SIGTERM", lost},
		{"-1", false, "SIGTERM", lost},
		{"99999999999999999999", false, "SIGTERM", lost},
		{"SIGRTMIN+3", false, "SIGTERM", lost},
		{"SIGSIGQUIT", false, "SIGTERM", lost},
		{"\x1b[2J", false, "SIGTERM", lost},
		{"", true, "SIGRTMIN+3", ""},
		{"SIGRTMIN+3", true, "SIGRTMIN+3", ""},
		{"rtmin+3", true, "SIGRTMIN+3", ""},
		{"37", true, "SIGRTMIN+3", ""},
		{"SIGTERM", true, "SIGRTMIN+3", notSystemd},
		{"nonsense", true, "SIGRTMIN+3", notSystemd},
	}
	for _, test := range tests {
		mode, note := contract.ModeExec, test.note
		if test.systemd {
			mode = contract.ModeSystemd
		}
		if note != "" {
			note = fmt.Sprintf(note, test.image)
		}
		var stderr strings.Builder
		if got := stopSignal(test.image, mode, &stderr); got != test.want || stderr.String() != note {
			t.Errorf("stopSignal(%q, %s) = %s, said %q, want %s, %q", test.image, mode, got, stderr.String(), test.want, note)
		}
	}
}

func TestGuestSignal(t *testing.T) {
	tests := []struct {
		sig  syscall.Signal
		stop string
		want syscall.Signal
	}{
		{syscall.SIGINT, "SIGTERM", syscall.SIGINT},
		{syscall.SIGHUP, "SIGQUIT", syscall.SIGHUP},
		{0, "SIGQUIT", 0},
		{syscall.SIGINT, systemdStop, 0},
		{syscall.SIGINT, "", 0},
	}
	for _, test := range tests {
		if got := guestSignal(test.sig, test.stop); got != test.want {
			t.Errorf("guestSignal(%d, %q) = %d, want %d", test.sig, test.stop, got, test.want)
		}
	}
}

// stopSignalImage pushes an image with this stop signal.
func stopSignalImage(t *testing.T, sig string) (ref string) {
	t.Helper()
	return pushChanged(t, "app:1", func(config *v1.ConfigFile) { config.Config.StopSignal = sig })
}

func TestStopSendsImagesSignal(t *testing.T) {
	for _, test := range []struct{ image, want, note string }{
		{"", "SIGTERM", ""},
		{"QUIT", "SIGQUIT", ""},
		{"2", "SIGINT", ""},
		{"SIGPWR", "SIGTERM", "kindling: image's stop signal \"SIGPWR\" cannot reach its command, SIGTERM in its place\n"},
	} {
		t.Run(test.image, func(t *testing.T) {
			h := newHost(t)
			t.Setenv(serialEnv, upAndRunning)
			t.Setenv(stoppedEnv, gotSignal+"\r\n"+sentinel(3, "exit code 3"))
			ref := stopSignalImage(t, test.image)
			want := result{0, "web\n", test.note}
			if diff := cmp.Diff(want, startUser(t, "run", "-d", "--name", "web", ref).wait(t)); diff != "" {
				t.Fatalf("run -d (-want +got):\n%s", diff)
			}
			if got := inspect(t, "web").StopSignal; got != test.want {
				t.Errorf("inspect: got stop signal %s, want %s", got, test.want)
			}
			if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
				t.Errorf("stop (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff("up\n"+test.want+"\n", must(t, "logs", "web")); diff != "" {
				t.Errorf("logs (-want +got):\n%s", diff)
			}
			h.programs.AwaitGone(t)
			h.requireReleased(t)
		})
	}
}

// A signal to kindling run is passed on as it is, whatever the image's is.
func TestInterruptedWithStopSignal(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, gotSignal+"\r\n"+sentinel(3, "exit code 3"))
	u := startUser(t, "run", stopSignalImage(t, "SIGQUIT"))
	u.see(t, "up\n")
	u.signal(t, syscall.SIGINT)
	if diff := cmp.Diff(result{3, "SIGINT\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestStopSignalAfterRestore(t *testing.T) {
	h, _ := newSnapshotHost(t, stopSignalImage(t, "SIGQUIT"))
	t.Setenv(stoppedEnv, gotSignal+"\r\n"+sentinel(3, "exit code 3"))
	dir := filepath.Join(t.TempDir(), "snap")
	must(t, "snapshot", "web", dir)
	must(t, "rm", "-f", "web")
	t.Setenv(serialEnv, "")
	u := startUser(t, "restore", "-d", "--name", "b", dir)
	if diff := cmp.Diff(result{0, "b\n", ""}, u.wait(t)); diff != "" {
		t.Fatalf("restore (-want +got):\n%s", diff)
	}
	must(t, "stop", "b")
	if diff := cmp.Diff("SIGQUIT\n", must(t, "logs", "b")); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}
