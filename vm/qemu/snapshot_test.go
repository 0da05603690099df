package qemu

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// fakeMonitor is QEMU's. What it does to a command is the value of monitorEnv.
func fakeMonitor() error {
	wrong, answer, _ := strings.Cut(os.Getenv(monitorEnv), " ")
	return qemutest.ServeMonitor(wrong, answer)
}

// startMonitored starts a machine with a monitor and gives its folder, too.
func startMonitored(t *testing.T) (m *Machine, dir string, programs *qemutest.Programs) {
	t.Helper()
	programs = qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
	t.Setenv(qemuEnv, "has a monitor")
	spec := newSpec(t, io.Discard)
	m, err := Start(t.Context(), spec, TCG)
	if err != nil {
		t.Fatal(err)
	}
	return m, spec.Dir, programs
}

func TestSnapshotAndRestore(t *testing.T) {
	m, dir, programs := startMonitored(t)
	name := filepath.Join(dir, "snap, shot")
	if err := m.Snapshot(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	programs.RequireGone(t)
	if state, err := os.ReadFile(name); err != nil || string(state) != "state" {
		t.Errorf("got snapshot %q, %v", state, err)
	}
	if _, err := os.Stat(name + ".partial"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a partial snapshot is left: %v", err)
	}
	for range 2 {
		restored, err := Restore(t.Context(), newSpec(t, io.Discard), TCG, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := restored.Kill(); err != nil {
			t.Error(err)
		}
	}
	programs.RequireGone(t)
}

func TestSnapshotFails(t *testing.T) {
	tests := []struct{ name, monitor, want string }{
		{"no vsock", `device_del {"error": {"class": "DeviceNotFound", "desc": "no device"}}`, "snapshot machine: monitor command device_del: DeviceNotFound: no device"},
		{"guest refuses", `device_del {"return": {}}` + "\n" + `{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "vsock0"}}`, "snapshot machine: unplug vsock: the guest refuses"},
		{"disk full", `migrate {"return": {}}` + "\n" + `{"event": "MIGRATION", "data": {"status": "failed"}}`, "snapshot machine: QEMU's migration failed: No space left on device"},
		{"crash", "migrate", "snapshot machine: monitor command migrate: monitor has closed the connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(monitorEnv, test.monitor)
			m, dir, programs := startMonitored(t)
			name := filepath.Join(dir, "snapshot")
			processtest.RequireError(t, m.Snapshot(t.Context(), name), test.want)
			if found, err := filepath.Glob(name + "*"); err != nil || len(found) > 0 {
				t.Errorf("%v is left (%v)", found, err)
			}
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
			programs.RequireGone(t)
		})
	}
}

func TestRestoreFails(t *testing.T) {
	tests := []struct{ name, qemu, monitor, want string }{
		{"QEMU fails", "fails", "", "qemu-system-x86_64: exit status 1: -blockdev driver=raw: could not open disk"},
		{"crash", "has a monitor", "migrate-incoming", "qemu-system-x86_64: exit status 1: has crashed"},
		{"cut", "has a monitor", `migrate-incoming {"return": {}}` + "\n" + `{"event": "MIGRATION", "data": {"status": "failed"}}`, "restore machine: QEMU's migration failed: No space"},
		{"no port", "has a monitor", `device_add {"error": {"class": "GenericError", "desc": "Bus 'vsock-port' not found"}}`,
			"restore machine: monitor command device_add: GenericError: Bus 'vsock-port' not found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
			t.Setenv(qemuEnv, test.qemu)
			t.Setenv(monitorEnv, test.monitor)
			spec := newSpec(t, io.Discard)
			name := filepath.Join(spec.Dir, "snapshot")
			if err := os.WriteFile(name, []byte("state"), 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Restore(t.Context(), spec, TCG, name)
			if m != nil {
				t.Error("got a machine")
			}
			processtest.RequireError(t, err, "restore machine: ", test.want)
			programs.RequireGone(t)
		})
	}
}

// TestRestoreWithoutSnapshot checks that nothing is started for nothing.
func TestRestoreWithoutSnapshot(t *testing.T) {
	programs := qemutest.Use(t)
	spec := newSpec(t, io.Discard)
	_, err := Restore(t.Context(), spec, TCG, filepath.Join(spec.Dir, "none"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, os.ErrNotExist)
	}
	processtest.RequireError(t, err, "restore machine: find snapshot: ")
	programs.RequireGone(t)
}

// TestSnapshotContext has a caller that has gone.
func TestSnapshotContext(t *testing.T) {
	m, dir, programs := startMonitored(t)
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := m.Snapshot(ctx, filepath.Join(dir, "snapshot")); !errors.Is(err, gone) {
		t.Errorf("got error %v, want %v", err, gone)
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	programs.RequireGone(t)
}
