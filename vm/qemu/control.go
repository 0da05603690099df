package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// answerTimeout bounds how long QEMU takes for what it does at once. Its monitor
	// serves one caller after the other.
	answerTimeout = 10 * time.Second
	// unplugTimeout bounds how long a guest takes to let go of its vsock.
	unplugTimeout = 30 * time.Second
	// plugTimeout bounds how long vhost-device-vsock takes from one connection to
	// the next.
	plugTimeout = 5 * time.Second
)

// The functions below are for any process that may use a machine's folder.

// Pause stops a machine's processors. It is no error where they stand still.
//
// The guest sees its vsock unplugged first, so connections are lost: when its
// machine goes on, vhost-device-vsock does not go on with a device that QEMU had
// stopped.
func Pause(ctx context.Context, dir string) error {
	err := control(ctx, dir, 0, func(ctx context.Context, m *monitor) error { return m.pause(ctx) })
	if err != nil {
		return fmt.Errorf("pause machine: %w", err)
	}
	return nil
}

// Resume lets a machine run on, also one that a Save or Pause which was killed has
// left without its vsock. It is no error where it runs.
func Resume(ctx context.Context, dir string) error {
	err := control(ctx, dir, answerTimeout, func(ctx context.Context, m *monitor) error {
		status, err := m.status(ctx)
		if err != nil {
			return err
		}
		if !status.Running && !status.paused() {
			return fmt.Errorf("it is %s", status.Status)
		}
		if err := m.endMigration(ctx); err != nil {
			return err
		}
		return errors.Join(m.plugAgain(ctx, dir), m.execute(ctx, "cont", nil, nil))
	})
	if err != nil {
		return fmt.Errorf("resume machine: %w", err)
	}
	return nil
}

// Paused tells whether a machine's processors stand still: after Pause, during
// Save, or because a disk image could not be written. So does one count that a
// Pause or Save which was killed has left without its vsock, as only Resume helps
// it. One that does not listen has just been started.
func Paused(ctx context.Context, dir string) (paused bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, monitorName)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = control(ctx, dir, answerTimeout, func(ctx context.Context, m *monitor) error {
		status, err := m.status(ctx)
		if paused = status.paused(); err != nil || !status.Running {
			return err
		}
		plugged, err := m.plugged(ctx)
		paused = !plugged
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look at machine: %w", err)
	}
	return paused, nil
}

// Save writes the state of a machine's processors, memory and devices to a new
// file, has copyDisks copy the disks as they are then, and lets the machine run
// on, if it ran. See Pause for what the guest sees of it, and Restore.
func Save(ctx context.Context, dir, name string, copyDisks func() error) error {
	ran := false
	err := control(ctx, dir, 0, func(ctx context.Context, m *monitor) error {
		status, err := m.status(ctx)
		if err != nil {
			return err
		}
		if ran = status.Running; !ran {
			if err := m.step(ctx); err != nil {
				return err
			}
		}
		if err := m.save(ctx, name); err != nil {
			return err
		}
		return copyDisks()
	})
	if ran {
		// Whatever happened, and also where the caller wants no more of it.
		err = errors.Join(err, Resume(context.WithoutCancel(ctx), dir))
	}
	if err != nil {
		return fmt.Errorf("save machine: %w", err)
	}
	return nil
}

// Version is that of the QEMU that runs a machine.
func Version(ctx context.Context, dir string) (version string, err error) {
	err = control(ctx, dir, answerTimeout, func(ctx context.Context, m *monitor) error {
		version, err = m.version(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("find QEMU's version: %w", err)
	}
	return version, nil
}

// control connects to a machine's monitor. A timeout of 0 is none, but for the
// connection.
func control(ctx context.Context, dir string, timeout time.Duration, do func(context.Context, *monitor) error) (err error) {
	late := fmt.Errorf("QEMU's monitor did not answer within %v, or serves another process", answerTimeout)
	connecting, cancel := context.WithTimeoutCause(ctx, answerTimeout, late)
	defer cancel()
	var conn net.Conn
	err = poll(connecting, func() (bool, error) {
		conn, err = net.Dial("unix", filepath.Join(dir, monitorName))
		// QEMU listens a moment after its start.
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("connect to monitor: %w", err)
	}
	m, err := newMonitor(connecting, conn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if timeout > 0 {
		ctx = connecting
	}
	return do(ctx, m)
}

// status is StatusInfo of QEMU's qapi.
type status struct {
	Running bool
	Status  string
}

// paused tells a machine that stands still from one that runs, has ended or waits
// for its state.
func (s status) paused() bool {
	return !s.Running && s.Status != "shutdown" && s.Status != "inmigrate" && s.Status != "prelaunch"
}

func (m *monitor) status(ctx context.Context) (s status, err error) {
	return s, m.execute(ctx, "query-status", nil, &s)
}

// version gives what qemu --version prints behind its name.
func (m *monitor) version(ctx context.Context) (string, error) {
	var v struct {
		QEMU    struct{ Major, Minor, Micro int }
		Package string
	}
	if err := m.execute(ctx, "query-version", nil, &v); err != nil {
		return "", err
	}
	version := fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
	if v.Package != "" {
		version += " (" + v.Package + ")"
	}
	return version, nil
}

// pause unplugs the vsock and stops the machine. One that stands still is left
// alone: its guest could not let go of the vsock.
func (m *monitor) pause(ctx context.Context) error {
	if status, err := m.status(ctx); err != nil || !status.Running {
		return err
	}
	plugged, err := m.plugged(ctx)
	if err != nil {
		return err
	}
	if plugged {
		if err := m.unplug(ctx); err != nil {
			return err
		}
	}
	return m.execute(ctx, "stop", nil, nil)
}

func (m *monitor) unplug(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, unplugTimeout, fmt.Errorf("unplug vsock: the guest did not let go of it within %v", unplugTimeout))
	defer cancel()
	if err := m.execute(ctx, "device_del", map[string]string{"id": vsockDevice}, nil); err != nil {
		return err
	}
	return m.await(ctx, isUnplugged)
}

// save pauses the machine and writes its state to a file.
func (m *monitor) save(ctx context.Context, name string) error {
	if err := m.pause(ctx); err != nil {
		return err
	}
	return migrate(ctx, m, "migrate", map[string]any{"uri": "file:" + name})
}

// step has a machine that stands still and was saved run for a moment: QEMU does
// not save it again before.
func (m *monitor) step(ctx context.Context) error {
	if err := m.endMigration(ctx); err != nil {
		return err
	}
	if status, err := m.status(ctx); err != nil || status.Status != "postmigrate" {
		return err
	}
	if err := m.execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	return m.execute(ctx, "stop", nil, nil)
}

// endMigration ends one that runs, and waits for the end of one that is about to
// end by itself: QEMU refuses to go on before.
func (m *monitor) endMigration(ctx context.Context) error {
	if err := m.execute(ctx, "migrate_cancel", nil, nil); err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		var migration struct{ Status string }
		if err := m.execute(ctx, "query-migrate", nil, &migration); err != nil {
			return false, err
		}
		status, err := m.status(ctx)
		switch migration.Status {
		case "", "none", "completed", "failed", "cancelled":
			return status.Status != "finish-migrate", err
		}
		return false, err
	})
}

// plugged tells whether the vsock is there.
func (m *monitor) plugged(ctx context.Context) (bool, error) {
	var devices []struct{ Name string }
	if err := m.execute(ctx, "qom-list", map[string]string{"path": "/machine/peripheral"}, &devices); err != nil {
		return false, err
	}
	for _, device := range devices {
		if device.Name == vsockDevice {
			return true, nil
		}
	}
	return false, nil
}

// plugAgain plugs the vsock in, where it is not, by a new connection:
// vhost-device-vsock takes one for one device.
func (m *monitor) plugAgain(ctx context.Context, dir string) error {
	if plugged, err := m.plugged(ctx); err != nil || plugged {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, plugTimeout, fmt.Errorf("plug vsock: not done within %v", plugTimeout))
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		last = m.plugAnew(ctx, dir)
		return last == nil, nil
	})
	return errors.Join(err, last)
}

func (m *monitor) plugAnew(ctx context.Context, dir string) error {
	// It is not there where an earlier try went half of the way.
	_ = m.execute(ctx, "chardev-remove", map[string]string{"id": vsockChardev}, nil)
	address := map[string]any{"type": "unix", "data": map[string]string{"path": filepath.Join(dir, vhostName)}}
	err := m.execute(ctx, "chardev-add", map[string]any{
		"id":      vsockChardev,
		"backend": map[string]any{"type": "socket", "data": map[string]any{"addr": address, "server": false}},
	}, nil)
	if err != nil {
		return err
	}
	return m.plug(ctx)
}

// plug plugs the vsock in.
func (m *monitor) plug(ctx context.Context) error {
	device := map[string]string{"driver": "vhost-user-vsock-pci", "id": vsockDevice, "bus": vsockPort, "chardev": vsockChardev}
	return m.execute(ctx, "device_add", device, nil)
}

// poll asks until the answer is yes.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
