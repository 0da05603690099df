package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/kindling-vm/kindling/guest/contract"
)

// machine is what the boot steps find out and leave to the next ones.
type machine struct {
	log     *logger
	signals signals
	disks   *diskWatch
	config  *contract.Config
	outcome contract.ExitInfo // how the application ended
}

// step is one part of the boot. Phase is its name in the log.
type step struct {
	phase string
	do    func(*machine) error
	// needed tells that the boot cannot go on without this step. The failure of
	// any other is logged.
	needed bool
}

// steps in their order. Every path into the image is resolved before the root
// switch with the image as root, and afterwards the image is the root.
var steps = []step{
	{"mount", (*machine).mountKernelFilesystems, true},
	{"mount", (*machine).openConsole, false},
	{"modules", (*machine).loadModules, true},
	{"overlay", (*machine).mountOverlay, true},
	{"config", (*machine).readConfig, true},
	{"config", (*machine).closeDiskWatch, false},
	{"config", (*machine).refuseUnserved, true},
	{"agent", (*machine).placeAgent, false},
	{"bind", (*machine).switchRoot, true},
	{"entrypoint", (*machine).runApplication, true},
}

// run runs the steps, of which the last runs the application, and gives the
// phase that the machine ended in and how.
func (m *machine) run(steps []step) (phase string, outcome contract.ExitInfo) {
	for _, s := range steps {
		phase = s.phase
		err := m.do(s)
		switch {
		case err == nil:
		case s.needed:
			return phase, contract.ExitInfo{Code: contract.ExitBootFailed, Message: fmt.Sprintf("boot failed: %s: %v", phase, err)}
		default:
			m.log.failed(phase, err)
		}
	}
	return phase, m.outcome
}

// do runs a step, whose panic is an error like any other. Init has no other
// goroutine that could panic.
func (m *machine) do(s step) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			_, _ = m.log.out.Write(debug.Stack())
			err = fmt.Errorf("init panicked: %v", reason)
		}
	}()
	return s.do(m)
}

func (m *machine) readConfig() (err error) {
	if err := m.disks.wait(contract.ConfigDisk); err != nil {
		return err
	}
	const dir = "/mnt/config"
	if err := mountAt(mount{source: contract.ConfigDisk, target: dir, fstype: "ext4", flags: readOnly}); err != nil {
		return err
	}
	file, err := os.Open(dir + contract.ConfigFile)
	if err != nil {
		return fmt.Errorf("open config: %w", err)
	}
	m.config, err = contract.ReadConfig(file)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("close config: %w", err)
	}
	return unmount(dir)
}

// refuseUnserved names what the config asks for and this init does not do, so
// that nobody waits for it: a machine without its volume is not the machine
// that was asked for.
func (m *machine) refuseUnserved() error {
	switch {
	case m.config.InitMode == contract.ModeSystemd:
		return fmt.Errorf("init_mode %q is not served", m.config.InitMode)
	case m.config.NetworkEnabled:
		return fmt.Errorf("network_enabled is not served")
	case len(m.config.VolumeMounts) > 0:
		return fmt.Errorf("volume_mounts is not served")
	}
	return nil
}
