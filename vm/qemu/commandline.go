package qemu

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/kindling-vm/kindling/vm"
)

// CommandLine is what Start starts QEMU with: the program's name and its
// arguments. QEMU connects to the program of VsockCommandLine, which must listen
// already.
func CommandLine(spec vm.Spec, accel Accel) ([]string, error) {
	platform, err := platformOf(spec.Arch)
	if err != nil {
		return nil, fmt.Errorf("write command line: %w", err)
	}
	return append([]string{platform.program}, arguments(spec, platform, accel, false)...), nil
}

// VsockCommandLine is what Start starts the machine's vsock with, before QEMU:
// the program's name and its arguments.
func VsockCommandLine(spec vm.Spec) []string {
	return append([]string{vsockProgram}, vsockArguments(spec)...)
}

// vsockArguments are those of vhost-device-vsock's --help.
func vsockArguments(spec vm.Spec) []string {
	return []string{
		"--guest-cid", strconv.FormatUint(uint64(spec.CID), 10),
		"--socket", filepath.Join(spec.Dir, vhostName),
		"--uds-path", vm.Vsock(spec.Dir),
	}
}
