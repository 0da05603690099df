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
)

func main() {
	if os.Getpid() != 1 {
		// It would mount over this machine's /dev and power the machine off.
		fmt.Fprintln(os.Stderr, "init: not started as PID 1 of a guest")
		os.Exit(1)
	}
	// A PID 1 that returns panics the kernel.
	defer powerOff()
	m := &machine{log: newLogger(os.Stderr), signals: catchSignals()}
	m.log.exit(m.run(steps))
}

// powerOff never returns where it has the right to power off.
func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "power off: %v\n", err)
	}
}
