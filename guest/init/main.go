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

	"github.com/kindling-vm/kindling/guest/init/internal/systemd"
)

func main() {
	if os.Getpid() != 1 {
		// It would mount over this machine's /dev and power the machine off.
		fmt.Fprintln(os.Stderr, "init: not started as PID 1 of a guest")
		os.Exit(1)
	}
	// A PID 1 that returns panics the kernel.
	command := unix.LINUX_REBOOT_CMD_POWER_OFF
	defer func() { leave(command) }()
	m := newMachine(newLogger(os.Stderr))
	if os.Args[0] == systemd.ShutdownProgram {
		command = endAfterSystemd(m, os.Args)
		return
	}
	m.log.exit(m.live(steps, background))
}

// leave never returns where it has the right to power off.
func leave(command int) {
	unix.Sync()
	for _, how := range []int{command, unix.LINUX_REBOOT_CMD_RESTART} {
		if err := unix.Reboot(how); err != nil {
			fmt.Fprintf(os.Stderr, "power off: %v\n", err)
		}
	}
}
