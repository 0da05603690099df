package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/cloudhypervisor"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// Hypervisors of a machine, as --hypervisor and a record have them.
const (
	hypervisorAuto  = "auto"
	hypervisorQEMU  = "qemu"
	hypervisorCloud = cloudhypervisor.Program
)

// launcher starts machines.
type launcher struct {
	hypervisor string
	accel      qemu.Accel
}

func (l launcher) start(ctx context.Context, spec vm.Spec) (vm.Machine, error) {
	if l.hypervisor == hypervisorCloud {
		return cloudhypervisor.Start(ctx, spec)
	}
	return qemu.Start(ctx, spec, l.accel)
}

// checkHypervisor says what of the other flags the hypervisor cannot do.
func (r *request) checkHypervisor() error {
	switch {
	case r.Hypervisor != hypervisorAuto && r.Hypervisor != hypervisorQEMU && r.Hypervisor != hypervisorCloud:
		return fmt.Errorf("--hypervisor is %q, want auto, cloud-hypervisor or qemu", r.Hypervisor)
	case r.Hypervisor != hypervisorCloud:
		return nil
	case r.Accel == string(qemu.TCG):
		return errors.New("--hypervisor is cloud-hypervisor, which cannot emulate; --accel tcg needs qemu")
	case r.Network == networkUser:
		return errors.New("--hypervisor is cloud-hypervisor, which has no user network; " +
			"give --net tap,... or --net none, or use qemu")
	}
	return nil
}

// chooseLauncher finds what runs a machine where the user has left that open.
// Cloud Hypervisor starts faster; QEMU does what that cannot.
func (r *request) chooseLauncher(ctx context.Context, set *system.Set, spec *vm.Spec, state string) (launcher, error) {
	cloud, err := r.choosesCloud(ctx, set, spec, state)
	if err != nil {
		return launcher{}, err
	}
	if cloud {
		return launcher{hypervisorCloud, qemu.KVM}, nil
	}
	accel := qemu.Accel(r.Accel)
	if r.Accel == "auto" {
		accel, err = qemu.Probe(ctx, set.Arch, set.Kernel, state)
	}
	return launcher{hypervisorQEMU, accel}, err
}

func (r *request) choosesCloud(ctx context.Context, set *system.Set, spec *vm.Spec, state string) (bool, error) {
	if r.Hypervisor != hypervisorAuto {
		return r.Hypervisor == hypervisorCloud, nil
	}
	if r.Accel == string(qemu.TCG) || cloudhypervisor.Check(*spec) != nil {
		return false, nil
	}
	if _, err := exec.LookPath(cloudhypervisor.Program); err != nil {
		return false, nil
	}
	if r.Accel == string(qemu.KVM) {
		return true, nil
	}
	return cloudhypervisor.Probe(ctx, set.Arch, set.Kernel, set.Initrd, state)
}

// control is how any process that may use a machine's folder speaks to the
// machine's hypervisor.
type control struct {
	pause, resume func(ctx context.Context, dir string) error
	paused        func(ctx context.Context, dir string) (bool, error)
	// callAgent calls the agent of a machine that has just been let go on.
	callAgent func(ctx context.Context, dir string, call func(*agent.Client) error) error
}

// controlOf finds out by the record of a machine. The error is fs.ErrNotExist of
// one that has not been started.
func controlOf(dir string) (control, error) {
	r, err := readRecord(dir)
	if err != nil {
		return control{}, err
	}
	if r.Hypervisor == hypervisorCloud {
		return control{cloudhypervisor.Pause, cloudhypervisor.Resume, cloudhypervisor.Paused, withAgent}, nil
	}
	return control{qemu.Pause, qemu.Resume, qemu.Paused, withAgentAgain}, nil
}
