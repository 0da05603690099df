package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/cloudhypervisor"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// commands are the command lines that start a machine by hand from any folder:
// those of its programs, in the order in which they must start.
func (l launcher) commands(spec vm.Spec) ([][]string, error) {
	for _, name := range []*string{&spec.Kernel, &spec.Initrd} { // all else is absolute
		absolute, err := filepath.Abs(*name)
		if err != nil {
			return nil, fmt.Errorf("write command line: %w", err)
		}
		*name = absolute
	}
	if l.hypervisor == hypervisorCloud {
		command, err := cloudhypervisor.CommandLine(spec)
		if err != nil {
			return nil, err
		}
		return [][]string{command}, nil
	}
	command, err := qemu.CommandLine(spec, l.accel)
	if err != nil {
		return nil, err
	}
	return [][]string{qemu.VsockCommandLine(spec), command}, nil
}

// setLauncher notes what starts the machine. Cloud Hypervisor's command line
// cannot express all that its API can: that is no reason not to start it.
func (r *record) setLauncher(l launcher, spec vm.Spec) {
	r.Hypervisor, r.Accel = l.hypervisor, string(l.accel)
	commands, err := l.commands(spec)
	if r.Snapshot != "" {
		err = errors.New("machine was restored, which takes more than command lines")
	}
	if err != nil {
		r.HypervisorCommandsError = err.Error()
		return
	}
	r.HypervisorCommands = commands
}
