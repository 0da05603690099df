// Init is the guest's PID 1 and the kernel's /init itself: it mounts the image
// as the root, starts the agent and the application, reports how the
// application ended and powers the machine off.
//
// It is not a service manager: it runs one application.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

func main() {
	// A PID 1 that returns panics the kernel.
	defer powerOff()
	signals := catchSignals()
	log := newLogger(os.Stderr)
	defer func() {
		if reason := recover(); reason != nil {
			log.exit("boot", contract.ExitInfo{Code: contract.ExitBootFailed, Message: fmt.Sprintf("init panicked: %v", reason)})
		}
	}()
	m := &machine{log: log}
	if phase, err := m.boot(steps); err != nil {
		log.exit(phase, contract.ExitInfo{Code: contract.ExitBootFailed, Message: fmt.Sprintf("boot failed: %s: %v", phase, err)})
		return
	}
	log.exit("entrypoint", m.runApplication(signals))
}

// powerOff never returns where it has the right to power off.
func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "power off: %v\n", err)
	}
}
