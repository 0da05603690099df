package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// startControlled starts a machine whose monitor answers and gives its folder.
func startControlled(t *testing.T) (dir string) {
	t.Helper()
	m, dir, programs := startMonitored(t)
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		programs.RequireGone(t)
	})
	// Its monitor is there.
	monitor, err := m.dialMonitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func requirePaused(t *testing.T, dir string, want bool) {
	t.Helper()
	if got, err := Paused(t.Context(), dir); err != nil || got != want {
		t.Errorf("Paused = %t, %v, want %t", got, err, want)
	}
}

func TestPauseAndResume(t *testing.T) {
	dir := startControlled(t)
	requirePaused(t, dir, false)
	for range 2 {
		if err := Pause(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		requirePaused(t, dir, true)
	}
	for range 2 {
		if err := Save(t.Context(), dir, filepath.Join(dir, "memory"), func() error { return nil }); err != nil {
			t.Errorf("Save of a paused machine: %v", err)
		}
		requirePaused(t, dir, true)
	}
	for range 2 {
		if err := Resume(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		requirePaused(t, dir, false)
	}
}

// A Pause that is killed before it stops the machine.
func TestPauseHalfway(t *testing.T) {
	dir := startControlled(t)
	err := control(t.Context(), dir, 0, func(ctx context.Context, m *monitor) error { return m.unplug(ctx) })
	if err != nil {
		t.Fatal(err)
	}
	requirePaused(t, dir, true)
	if err := Pause(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if err := Resume(t.Context(), dir); err != nil {
		t.Error(err)
	}
	requirePaused(t, dir, false)
}

func TestSave(t *testing.T) {
	dir := startControlled(t)
	if version, err := Version(t.Context(), dir); version != "11.1.2 (Debian 1:11.1.2)" || err != nil {
		t.Errorf("Version = %q, %v", version, err)
	}
	memory := filepath.Join(dir, "memory")
	for range 2 {
		copied := false
		err := Save(t.Context(), dir, memory, func() error {
			state, err := os.ReadFile(memory)
			if string(state) != "state" {
				t.Errorf("got state %q, %v before the disks are copied", state, err)
			}
			copied = true
			return nil
		})
		if err != nil || !copied {
			t.Fatalf("got error %v, disks are copied: %t", err, copied)
		}
		requirePaused(t, dir, false)
	}
}

// Whatever fails, the machine runs on.
func TestSaveFails(t *testing.T) {
	full, gone := errors.New("disk is full"), errors.New("caller is gone")
	tests := []struct {
		name, monitor string
		copyDisks     error
		want          error
		text          string
	}{
		{"guest refuses", `device_del {"return": {}}` + "\n" + `{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "vsock0"}}`, nil, nil, "save machine: unplug vsock: the guest refuses"},
		{"memory", `migrate {"return": {}}` + "\n" + `{"event": "MIGRATION", "data": {"status": "failed"}}`, nil, nil, "No space left on device"},
		{"disks", "", full, full, "save machine: disk is full"},
		{"caller", "", gone, gone, "save machine: caller is gone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(monitorEnv, test.monitor)
			dir := startControlled(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			err := Save(ctx, dir, filepath.Join(dir, "memory"), func() error {
				cancel(gone)
				return test.copyDisks
			})
			processtest.RequireError(t, err, test.text)
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			requirePaused(t, dir, false)
		})
	}
}

func TestControlFails(t *testing.T) {
	dir := t.TempDir()
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := Pause(ctx, dir); !errors.Is(err, gone) {
		t.Errorf("no monitor: got error %v, want %v", err, gone)
	}
	requirePaused(t, dir, false)
	// One that serves somebody else says nothing.
	listener, err := net.Listen("unix", filepath.Join(dir, monitorName))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := Paused(ctx, dir); !errors.Is(err, gone) {
		t.Errorf("busy monitor: got error %v, want %v", err, gone)
	}
}

func TestProgramVersion(t *testing.T) {
	qemutest.Use(t, "qemu-system-x86_64")
	t.Setenv(qemuEnv, "QEMU emulator version 11.1.2 (Debian 1:11.1.2)\nCopyright")
	if version, err := ProgramVersion(t.Context(), "x86_64"); version != "11.1.2 (Debian 1:11.1.2)" || err != nil {
		t.Errorf("got %q, %v", version, err)
	}
	t.Setenv(qemuEnv, "another program")
	_, err := ProgramVersion(t.Context(), "x86_64")
	processtest.RequireError(t, err, "find QEMU's version: qemu-system-x86_64 printed \"another program\"")
	_, err = ProgramVersion(t.Context(), "aarch64")
	processtest.RequireError(t, err, "Debian package qemu-system-arm)")
	_, err = ProgramVersion(t.Context(), "sparc")
	processtest.RequireError(t, err, `arch "sparc" is not known`)
}
