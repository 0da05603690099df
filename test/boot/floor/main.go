// Floor is the least that an init can do: it says that the application starts,
// is the application, says how that ended and powers the machine off. What it
// takes is what the kernel and the Go runtime take.
//
// As an application of another init it does its part of that. Either way it
// tells how many microseconds after the kernel's start of init it runs, by the
// kernel's log.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

func main() {
	since, err := sinceInit()
	text := fmt.Sprintf("since /init: %d\n", since)
	if err != nil {
		text = err.Error() + "\n"
	}
	if os.Getpid() != 1 {
		fmt.Print(text)
		return
	}
	now := time.Now()
	fmt.Fprint(os.Stderr,
		contract.LogLine(now, contract.LevelInfo, "entrypoint", contract.ProgramStartMarker+" ts="+now.Format(time.RFC3339Nano)),
		text,
		contract.LogLine(now, contract.LevelInfo, "entrypoint", contract.NewExitInfo(0).String()))
	const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
	if err := unix.IoctlSetInt(unix.Stderr, unix.TCSBRK, drain); err != nil {
		fmt.Fprintf(os.Stderr, "drain console: %v\n", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "power off: %v\n", err)
	}
}

// mark is what this program writes into the kernel's log for its time.
const mark = "kindling floor"

// sinceInit is the time in microseconds since the kernel has logged that it
// runs /init, or another program in its place, by the log's own clock.
func sinceInit() (int, error) {
	name := "/dev/kmsg"
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		name = "/kmsg"
		if err := unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))); err != nil {
			return 0, fmt.Errorf("make %s: %w", name, err)
		}
	}
	log, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", name, err)
	}
	// Without its end, the line could go on, and is not shown.
	if _, err := unix.Write(log, []byte("<7>"+mark+"\n")); err != nil {
		return 0, fmt.Errorf("write kernel log: %w", err)
	}
	var start int
	for record := make([]byte, 8192); ; {
		n, err := unix.Read(log, record)
		if err == unix.EPIPE {
			continue // overwritten meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("read kernel log: %w", err)
		}
		header, text, _ := strings.Cut(string(record[:n]), ";")
		fields := strings.Split(header, ",")
		if len(fields) < 3 {
			continue
		}
		at, err := strconv.Atoi(fields[2])
		switch {
		case err != nil:
			return 0, fmt.Errorf("parse kernel log: %w", err)
		case strings.HasPrefix(text, "Run ") && strings.Contains(text, " as init process"):
			start = at
		case strings.HasPrefix(text, mark):
			return at - start, nil
		}
	}
}
