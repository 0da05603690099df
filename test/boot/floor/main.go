// Floor is the least that an init can do: it says that the application starts,
// is the application, says how that ended and powers the machine off. What it
// takes is what the kernel and the Go runtime take.
package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

func main() {
	now := time.Now()
	fmt.Fprint(os.Stderr,
		contract.LogLine(now, contract.LevelInfo, "entrypoint", contract.ProgramStartMarker+" ts="+now.Format(time.RFC3339Nano)),
		"hello\n",
		contract.LogLine(now, contract.LevelInfo, "entrypoint", contract.NewExitInfo(0).String()))
	const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
	if err := unix.IoctlSetInt(unix.Stderr, unix.TCSBRK, drain); err != nil {
		fmt.Fprintf(os.Stderr, "drain console: %v\n", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "power off: %v\n", err)
	}
}
