// Package cloudhypervisor starts machines under Cloud Hypervisor, which needs
// KVM and brings the guest's vsock as a Unix socket of its own.
//
// All that describes a machine goes through the program's API and not through
// its command line: pause and snapshot need the API anyway, an answer says what
// was wrong where an exit code would not, and no path has to be quoted for an
// option parser. CommandLine is for those who start a machine by hand. There is
// no emulation and no user-mode network here; package qemu has both.
package cloudhypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/process"
)

const (
	// Program is the name of Cloud Hypervisor's executable.
	Program = "cloud-hypervisor"

	socketName = "api.sock"
	// The program finds these open: the descriptors behind standard error.
	socketFD, eventsFD = "3", "4"

	// pingTimeout bounds how long the program takes to its first answer.
	pingTimeout = 10 * time.Second
	// drainTime bounds how long the events of a program that has ended are read.
	drainTime = time.Second
)

// hostArch is this machine's architecture, as uname(1) says it.
var hostArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]

var errUserNetwork = errors.New("cloud-hypervisor has no user network; use a tap device or QEMU")

// Machine is a running machine.
type Machine struct {
	client    *client
	process   *process.Process
	events    *os.File
	reset     chan struct{} // closed when the guest resets
	watched   chan struct{} // closed when all events are read
	eventsErr error         // once watched is closed
}

// Check says why Cloud Hypervisor cannot run a machine that QEMU can.
func Check(spec vm.Spec) error {
	switch {
	case spec.Arch != hostArch:
		return fmt.Errorf("cloud-hypervisor does not emulate: machine is %s, host is %s; use QEMU", spec.Arch, hostArch)
	case spec.UserNetwork:
		// Ports are forwarded by it as well.
		return errUserNetwork
	}
	return nil
}

// Start starts a machine whose kernel is an ELF file with a PVH entry point or
// an arm64 Image. It returns when the guest's processors run, which says nothing
// about the guest. The program dies with this one.
func Start(ctx context.Context, spec vm.Spec) (*Machine, error) {
	m, err := start(ctx, spec, func(m *Machine) error {
		if err := m.client.put(ctx, "vm.create", configOf(spec)); err != nil {
			return err
		}
		return m.client.put(ctx, "vm.boot", nil)
	})
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	return m, nil
}

// start starts the program and has fill make a machine of it.
func start(ctx context.Context, spec vm.Spec, fill func(*Machine) error) (*Machine, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if err := Check(spec); err != nil {
		return nil, err
	}
	program, err := exec.LookPath(Program)
	if err != nil {
		return nil, fmt.Errorf("find hypervisor's program: %w", err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m, err := launch(program, spec.Dir, spec.Serial)
	if m == nil {
		return nil, err
	}
	if err == nil {
		err = m.awaitAnswer(ctx)
	}
	if err == nil {
		err = fill(m)
	}
	if err != nil {
		// A program that has ended says more than the connection to it that broke.
		killErr := m.Kill()
		return nil, errors.Join(err, m.process.Err(), killErr)
	}
	return m, nil
}

// launch starts the program without a machine. It inherits a socket that
// listens already, so that nobody needs to wait for one. The machine comes also
// with an error about what is closed behind it.
func launch(program, dir string, serial io.Writer) (_ *Machine, err error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer func() { err = errors.Join(err, listener.Close()) }()
	socket, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	events, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, write.Close()) }()
	cmd := exec.Command(program, "--api-socket", "fd="+socketFD, "--event-monitor", "fd="+eventsFD)
	cmd.ExtraFiles = []*os.File{socket, write}
	started, err := process.Start(cmd, serial)
	if err != nil {
		return nil, errors.Join(err, events.Close())
	}
	m := &Machine{
		client: newClient(dir), process: started,
		events: events, reset: make(chan struct{}), watched: make(chan struct{}),
	}
	go m.watch()
	return m, nil
}

func (m *Machine) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, fmt.Errorf("%s did not answer within %v", Program, pingTimeout))
	defer cancel()
	_, err := m.client.version(ctx)
	return err
}

// watch reads what the program tells unasked (event_monitor of its sources). A
// guest that resets would boot once more: the program has no option against it.
func (m *Machine) watch() {
	defer close(m.watched)
	decoder := json.NewDecoder(m.events)
	for seen := false; ; {
		var event struct{ Source, Event string }
		err := decoder.Decode(&event)
		switch {
		case err == nil && event.Source == "vm" && event.Event == "rebooting" && !seen:
			seen = true
			close(m.reset)
		case err == nil:
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF): // killed within an event
			m.eventsErr = m.events.Close()
			return
		default:
			// Who does not see a reset must not let the machine run.
			m.eventsErr = errors.Join(fmt.Errorf("read events of %s: %w", Program, err), m.events.Close())
			if !seen {
				close(m.reset)
			}
			return
		}
	}
}

// Wait waits until the machine has powered off or reset and Spec.Serial has all
// of its output. After ctx's end it kills it. The error of a program that failed
// has what it printed.
func (m *Machine) Wait(ctx context.Context) error {
	var err error
	select {
	case <-m.process.Done():
	case <-m.reset:
		err = m.process.Kill()
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), m.process.Kill())
	}
	return errors.Join(err, m.finish())
}

// finish collects the errors of a program that has ended.
func (m *Machine) finish() error {
	select {
	case <-m.watched:
		return errors.Join(m.process.Err(), m.eventsErr)
	case <-time.After(drainTime): // someone else holds the pipe
		return m.process.Err()
	}
}

// Kill ends the machine at once, as pulling its plug would.
func (m *Machine) Kill() error {
	return m.process.Kill()
}
