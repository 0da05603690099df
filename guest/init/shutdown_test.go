package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestTakeNote(t *testing.T) {
	tests := []struct {
		name, content string
		want          *contract.ShutdownNote
		err           string
	}{
		{"all", `{"grace_seconds": 30, "reason": "upgrade"}`, &contract.ShutdownNote{GraceSeconds: 30, Reason: "upgrade"}, ""},
		{"nothing", `{}`, &contract.ShutdownNote{}, ""},
		{"no document", `grace`, nil, "parse shutdown note: invalid character"},
		{"too much", `{"reason": "` + strings.Repeat("x", maxNote) + `"}`, nil, "parse shutdown note: unexpected end of JSON input"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "shutdown.json")
			if err := os.WriteFile(name, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := takeNote(name)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" && test.err == "" {
				t.Errorf("note (-want +got):\n%s", diff)
			}
			// Each note counts once.
			if got, err := takeNote(name); got != nil || err != nil {
				t.Errorf("second time: got %v, %v, want nothing", got, err)
			}
		})
	}
}

// TestShutdownGrace asks an application to end that does not.
func TestShutdownGrace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shutdown.json")
	if err := os.WriteFile(name, []byte(`{"grace_seconds": 1, "reason": "upgrade"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGuest(t, "/bin/false", "1m", name)
	g.configure(t, &contract.Config{Cmd: []string{"/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"}, SkipGuestAgent: true})
	g.expectBoth(t, "ready")
	if err := g.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, outcome := g.finish(t)
	if outcome != contract.NewKillInfo(unix.SIGKILL) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewKillInfo(unix.SIGKILL))
	}
	for _, line := range []string{`shutdown: "upgrade"`, "app runs 1s after its shutdown, killed"} {
		if !strings.Contains(g.log.String(), line) {
			t.Errorf("log has no line %s:\n%s", line, &g.log)
		}
	}
}
