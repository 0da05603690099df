package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/kindling-vm/kindling/vm"
)

const (
	monitorName = "monitor.sock"
	// vsockDevice, vsockPort and vsockChardev are QEMU's names of the guest's
	// vsock, of the port that it is plugged into and of its connection to
	// vhost-device-vsock.
	vsockDevice  = "vsock0"
	vsockPort    = "vsock-port"
	vsockChardev = "vsock"
)

// Snapshot writes the state of a machine's processors, memory and devices to a
// file, which is there complete or not at all, and ends the machine. The state
// goes with the content of the disks as they then are: a copy of them for each
// Restore.
//
// The guest sees its vsock unplugged first, since QEMU cannot write the state of
// one that is another process: connections are lost. After an error the machine
// may be left without it, or stopped.
func (m *Machine) Snapshot(ctx context.Context, name string) error {
	if err := m.snapshot(ctx, name); err != nil {
		return fmt.Errorf("snapshot machine: %w", err)
	}
	return nil
}

func (m *Machine) snapshot(ctx context.Context, name string) (err error) {
	monitor, err := m.dialMonitor(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, monitor.close()) }()
	partial := name + ".partial"
	if err := monitor.save(ctx, partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	if err := m.Kill(); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return keep(partial, name)
}

// keep gives a file that was written its name.
func keep(partial, name string) error {
	file, err := os.OpenFile(partial, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close(), os.Rename(partial, name))
}

// Restore starts a machine from the state in a file that Snapshot wrote of one
// with the same spec, but for its folder, its context ID, its serial output and
// its disks, which are copies of those of the snapshot. The accelerator must be
// the same. It returns when the machine runs on; the guest then finds a new
// vsock.
func Restore(ctx context.Context, spec vm.Spec, accel Accel, name string) (*Machine, error) {
	m, err := restore(ctx, spec, accel, name)
	if err != nil {
		return nil, fmt.Errorf("restore machine: %w", err)
	}
	return m, nil
}

func restore(ctx context.Context, spec vm.Spec, accel Accel, name string) (*Machine, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("find snapshot: %w", err)
	}
	m, err := start(ctx, spec, accel, true)
	if err != nil {
		return nil, err
	}
	if err := m.resume(ctx, name); err != nil {
		killErr := m.Kill()
		return nil, errors.Join(err, m.qemu.Err(), killErr)
	}
	return m, nil
}

func (m *Machine) resume(ctx context.Context, name string) (err error) {
	monitor, err := m.dialMonitor(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, monitor.close()) }()
	// It would end before it has told why.
	arguments := map[string]any{"uri": "file:" + name, "exit-on-error": false}
	if err := migrate(ctx, monitor, "migrate-incoming", arguments); err != nil {
		return err
	}
	if err := monitor.plug(ctx); err != nil {
		return err
	}
	return monitor.execute(ctx, "cont", nil, nil)
}

// versionPrefix is what QEMU prints before its version.
const versionPrefix = "QEMU emulator version "

// ProgramVersion is the version of the QEMU that Restore would start for an
// architecture, in the form of Version.
func ProgramVersion(ctx context.Context, arch string) (string, error) {
	platform, ok := platforms[arch]
	if !ok {
		return "", fmt.Errorf("find QEMU's version: arch %q is not known", arch)
	}
	program, err := find(platform.program, platform.pkg)
	if err != nil {
		return "", err
	}
	output, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("find QEMU's version: run %s: %w", platform.program, err)
	}
	line, _, _ := strings.Cut(string(output), "\n")
	version, found := strings.CutPrefix(line, versionPrefix)
	if !found {
		return "", fmt.Errorf("find QEMU's version: %s printed %.80q, want %q first", platform.program, line, versionPrefix)
	}
	return version, nil
}

// errNotMigrated tells of a migration that has ended without success.
var errNotMigrated = errors.New("QEMU's migration failed")

// migrate runs a command that moves a machine's state to or from a file, and
// waits for its end.
func migrate(ctx context.Context, monitor *monitor, command string, arguments map[string]any) error {
	capability := map[string]any{"capability": "events", "state": true}
	if err := monitor.execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []any{capability}}, nil); err != nil {
		return err
	}
	if err := monitor.execute(ctx, command, arguments, nil); err != nil {
		return err
	}
	err := monitor.await(ctx, isMigrated)
	if errors.Is(err, errNotMigrated) {
		var outcome struct {
			Desc string `json:"error-desc"`
		}
		if queryErr := monitor.execute(ctx, "query-migrate", nil, &outcome); queryErr != nil {
			return errors.Join(err, queryErr)
		}
		return fmt.Errorf("%w: %s", err, outcome.Desc)
	}
	return err
}

// isMigrated accepts the end of a migration (MIGRATION of QEMU's qapi).
func isMigrated(event monitorEvent) (bool, error) {
	if event.Name != "MIGRATION" {
		return false, nil
	}
	var data struct{ Status string }
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return false, fmt.Errorf("read monitor's event: %w", err)
	}
	if data.Status == "failed" || data.Status == "cancelled" {
		return false, errNotMigrated
	}
	return data.Status == "completed", nil
}

// isUnplugged accepts the guest's having let go of the vsock (DEVICE_DELETED of
// QEMU's qapi).
func isUnplugged(event monitorEvent) (bool, error) {
	var data struct{ Device string }
	if event.Name != "DEVICE_DELETED" && event.Name != "DEVICE_UNPLUG_GUEST_ERROR" {
		return false, nil
	}
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return false, fmt.Errorf("read monitor's event: %w", err)
	}
	if data.Device != vsockDevice {
		return false, nil
	}
	if event.Name != "DEVICE_DELETED" {
		return false, errors.New("unplug vsock: the guest refuses")
	}
	return true, nil
}
