package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// consoles in the order in which hosts look for output.
var consoles = []string{"/dev/hvc0", "/dev/ttyAMA0", "/dev/ttyS0"}

// logger writes the contract's log lines. A console that cannot be written to
// leaves nobody to tell, so write errors are dropped here and nowhere else.
type logger struct {
	out io.Writer
	now func() time.Time
}

func newLogger(out io.Writer) *logger {
	return &logger{out: out, now: time.Now}
}

func (l *logger) info(phase, format string, args ...any) {
	_, _ = io.WriteString(l.out, contract.LogLine(l.now(), contract.LevelInfo, phase, fmt.Sprintf(format, args...)))
}

func (l *logger) failed(phase string, err error) {
	_, _ = io.WriteString(l.out, contract.LogLine(l.now(), contract.LevelError, phase, err.Error()))
}

// exit writes the machine's outcome, the last line of its log, and waits until
// the console has sent it: powering off would drop what is in its buffer.
func (l *logger) exit(phase string, info contract.ExitInfo) {
	l.info(phase, "%v", info)
	if file, ok := l.out.(*os.File); ok {
		const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
		_ = unix.IoctlSetInt(int(file.Fd()), unix.TCSBRK, drain)
	}
}

// openConsole makes the first console that opens the standard output and error
// of init, and so of all that it starts.
func (m *machine) openConsole() error {
	var problems []error
	for _, name := range consoles {
		// A terminal must not become the controlling one of PID 1.
		console, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, fd := range []int{1, 2} {
			if err := unix.Dup3(int(console.Fd()), fd, 0); err != nil {
				return fmt.Errorf("redirect output to %s: %w", name, err)
			}
		}
		m.log.out = os.Stderr
		return console.Close()
	}
	return fmt.Errorf("open console: %w", errors.Join(problems...))
}
