package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/init/internal/systemd"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// handsOver tells whether the image has an init of its own that is to be PID 1.
func (m *machine) handsOver() bool {
	return m.config != nil && m.config.InitMode == contract.ModeSystemd
}

// prepareSystemd makes the agent a service, and this program the one that
// systemd leaves the end to.
func (m *machine) prepareSystemd() (err error) {
	if !m.handsOver() {
		return nil
	}
	root, err := inroot.Open("/")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read own program: %w", err)
	}
	if m.config.SkipGuestAgent {
		err = systemd.RemoveAgent(root)
	} else {
		err = systemd.InstallAgent(root, m.config.Environ(""))
	}
	return errors.Join(err, systemd.InstallShutdown(root, program))
}

// handOver makes the image's init PID 1, and returns only when that fails.
func (m *machine) handOver() (ending, error) {
	m.log.info("systemd", "%s ts=%s mode=%s", contract.ProgramStartMarker, m.log.now().UTC().Format(time.RFC3339Nano), m.config.InitMode)
	return ending{}, systemd.HandOver(m.config.Argv(), m.config.Environ(""))
}

// endAfterSystemd is all that this program does when systemd has executed it at
// the end: it says how the machine ended and gives what is left to do for
// reboot(2). The overlay disk is out of reach by then, so the kernel is asked to
// make all disks read-only.
func endAfterSystemd(m *machine, args []string) (command int) {
	outcome, command := systemd.End(args)
	err := m.do(func() error {
		return errors.Join(m.openConsole(), m.end(), writeExisting("/proc/sysrq-trigger", "u"))
	})
	if err != nil {
		m.log.failed("systemd", err)
	}
	unix.Sync()
	m.log.exit(ending{phase: "systemd", text: fmt.Sprintf("systemd ended with code %d (%s)", outcome.Code, outcome.Message), outcome: outcome})
	return command
}
