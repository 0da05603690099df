// Package qemu starts machines under QEMU, with the guest's vsock as a Unix
// socket by vhost-device-vsock, which needs nothing of the host's kernel.
//
// It is for machines on which people build and test. A machine's snapshot is
// one of its memory only: disks are the caller's.
package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/process"
)

const (
	vsockProgram = "vhost-device-vsock"
	vhostName    = "vhost.sock"
	// socketTimeout bounds how long a program takes to listen.
	socketTimeout = 10 * time.Second
)

// platform is how QEMU runs machines of an architecture.
type platform struct {
	program, pkg string // executable, and the Debian package that has it
	machine      string
	cpu          string // under emulation
	console      string // serial port, as the kernel calls it
}

var platforms = map[string]platform{
	// Real pointer authentication costs an emulated processor half of its time. With
	// fast string operations, which it does byte by byte, a kernel copies and clears
	// with them: bytes through vsock take half as long again.
	"aarch64": {program: "qemu-system-aarch64", pkg: "qemu-system-arm", machine: "virt", cpu: "max,pauth-impdef=on", console: "ttyAMA0"},
	"x86_64":  {program: "qemu-system-x86_64", pkg: "qemu-system-x86", machine: "q35", cpu: "max,erms=off,fsrm=off", console: "ttyS0"},
}

func platformOf(arch string) (platform, error) {
	platform, ok := platforms[arch]
	if !ok {
		return platform, fmt.Errorf("arch %q is not known", arch)
	}
	return platform, nil
}

// Machine is a running machine.
type Machine struct {
	dir         string
	qemu, vhost *process.Process
}

// Start starts a machine. It returns when the hypervisor runs, which says
// nothing about the guest. Both processes die with this one.
func Start(ctx context.Context, spec vm.Spec, accel Accel) (*Machine, error) {
	m, err := start(ctx, spec, accel, false)
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	return m, nil
}

func start(ctx context.Context, spec vm.Spec, accel Accel, restored bool) (*Machine, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	platform, err := platformOf(spec.Arch)
	if err != nil {
		return nil, err
	}
	qemu, err := find(platform.program, platform.pkg)
	if err != nil {
		return nil, err
	}
	vhost, err := find(vsockProgram, "vhost-device-vsock")
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	socket := filepath.Join(spec.Dir, vhostName)
	m := &Machine{dir: spec.Dir}
	m.vhost, err = process.Start(exec.Command(vhost, vsockArguments(spec)...), io.Discard)
	if err != nil {
		return nil, err
	}
	// Whoever connects before QEMU is taken for it.
	isThere := func() error {
		_, err := os.Stat(socket)
		return err
	}
	if err := awaitSocket(ctx, socket, m.vhost, isThere); err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	m.qemu, err = process.Start(exec.Command(qemu, arguments(spec, platform, accel, restored)...), spec.Serial)
	if err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	return m, nil
}

// Wait waits until the machine has powered off and Spec.Serial has all of its
// output. After ctx's end it kills it, and where vhost-device-vsock has ended: a
// guest that nobody can reach cannot be asked to stop. The error of a program that
// failed has what it printed.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.qemu.Done():
		return m.ended()
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), m.Kill())
	case <-m.vhost.Done():
	}
	// QEMU may end for that reason, or for the one that ended both.
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-m.qemu.Done():
		return m.ended()
	case <-timer.C:
		err := cmp.Or(m.vhost.Err(), errors.New("vhost-device-vsock has ended"))
		return errors.Join(fmt.Errorf("lose guest's vsock: %w", err), m.qemu.Kill())
	}
}

// ended is the outcome of a machine whose QEMU has ended.
func (m *Machine) ended() error {
	err := m.vhost.Kill()
	if m.qemu.Err() != nil {
		// QEMU fails where vhost-device-vsock has ended before.
		err = errors.Join(m.qemu.Err(), m.vhost.Err(), err)
	}
	return err
}

// Kill ends the machine at once, as pulling its plug would.
func (m *Machine) Kill() error {
	var err error
	if m.qemu != nil {
		err = m.qemu.Kill()
	}
	return errors.Join(err, m.vhost.Kill())
}

func find(name, pkg string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find hypervisor's program (Debian package %s): %w", pkg, err)
	}
	return program, nil
}

// arguments is QEMU's command line. The disks come behind nothing else on the
// bus, so their order is their names' order. A machine to be restored waits for
// its state, which has no vsock.
func arguments(spec vm.Spec, platform platform, accel Accel, restored bool) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", accel.option(),
		"-cpu", platform.cpuFor(accel),
		// vhost-user shares the guest's memory with another process.
		"-machine", platform.machine + ",memory-backend=memory",
		"-object", fmt.Sprintf("memory-backend-memfd,id=memory,size=%dM,share=on", spec.MemoryMiB),
		"-m", fmt.Sprintf("%dM", spec.MemoryMiB),
		"-smp", strconv.Itoa(spec.CPUs),
		"-serial", "stdio",
		"-kernel", spec.Kernel,
		"-initrd", spec.Initrd,
		"-append", spec.Cmdline,
	}
	for i, disk := range spec.Disks {
		readOnly := "off"
		if disk.ReadOnly {
			readOnly = "on"
		}
		args = append(args,
			"-blockdev", fmt.Sprintf("driver=raw,node-name=disk%d,read-only=%s,file.driver=file,file.filename=%s", i, readOnly, escape(disk.Path)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	// Nothing boots from the network, so it needs no ROM.
	const nic = "virtio-net-pci,netdev=network,romfile="
	if spec.UserNetwork {
		network := "user,id=network"
		for _, forward := range spec.Forwards {
			network += fmt.Sprintf(",hostfwd=tcp:%v-:%d", forward.Host, forward.Guest)
		}
		args = append(args, "-netdev", network, "-device", nic)
	}
	if spec.Tap != nil {
		// Otherwise QEMU runs scripts as root that say what the host's network is.
		args = append(args,
			"-netdev", "tap,id=network,ifname="+spec.Tap.Name+",script=no,downscript=no",
			"-device", nic+",mac="+spec.Tap.MAC.String())
	}
	args = append(args,
		"-qmp", "unix:"+escape(filepath.Join(spec.Dir, monitorName))+",server=on,wait=off",
		"-chardev", "socket,id="+vsockChardev+",path="+escape(filepath.Join(spec.Dir, vhostName)),
		// What is on the bus itself cannot be unplugged.
		"-device", "pcie-root-port,id="+vsockPort)
	if restored {
		return append(args, "-incoming", "defer")
	}
	return append(args,
		"-device", "vhost-user-vsock-pci,id="+vsockDevice+",bus="+vsockPort+",chardev="+vsockChardev)
}

// cpuFor is the model of the processor. KVM has only what the host has.
func (p platform) cpuFor(accel Accel) string {
	if accel == TCG {
		return p.cpu
	}
	return "max"
}

// awaitSocket waits until a program has made its socket: until try does not fail
// for want of one.
func awaitSocket(ctx context.Context, name string, p *process.Process, try func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, socketTimeout, fmt.Errorf("%s did not listen within %v", p.Name(), socketTimeout))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := try(); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("wait for socket: %w", err)
		}
		select {
		case <-p.Done():
			return fmt.Errorf("wait for socket %s: %w", name, cmp.Or(p.Err(), fmt.Errorf("%s has ended", p.Name())))
		case <-ctx.Done():
			return fmt.Errorf("wait for socket %s: %w", name, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// escape protects a value's commas from QEMU's option parser.
func escape(value string) string {
	return strings.ReplaceAll(value, ",", ",,")
}
