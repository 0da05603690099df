package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	// exitPatience is how long the outcome may take to leave the console. One
	// that is stopped, or whose host does not read, must not keep the machine.
	exitPatience = 2 * time.Second
	// maxOutcome bounds the outcome's text, in bytes before quoting: hosts look
	// at the last contract.ExitTail bytes only.
	maxOutcome = 512
	// maxMessage bounds any other line, and maxStack a stack, in bytes.
	maxMessage = 2048
	maxStack   = 8192
)

// consoles in the order in which hosts look for output.
var consoles = []string{"/dev/hvc0", "/dev/ttyAMA0", "/dev/ttyS0"}

// logger writes the contract's log lines. A console that cannot be written to
// leaves nobody to tell, so write errors are dropped here and nowhere else.
type logger struct {
	out      io.Writer
	now      func() time.Time
	patience time.Duration

	mu    sync.Mutex // makes the outcome the last line
	ended bool
}

func newLogger(out io.Writer) *logger {
	return &logger{out: out, now: time.Now, patience: exitPatience}
}

func (l *logger) info(phase, format string, args ...any) {
	l.write(contract.LevelInfo, phase, fmt.Sprintf(format, args...))
}

func (l *logger) failed(phase string, err error) {
	l.write(contract.LevelError, phase, err.Error())
}

// write writes one line, whatever a message quotes and however long it is.
func (l *logger) write(level contract.Level, phase, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended { // by another goroutine, in the background
		return
	}
	_, _ = io.WriteString(l.out, contract.LogLine(l.now(), level, phase, oneLine(message)))
}

func oneLine(message string) string {
	return strings.ReplaceAll(clip(message, maxMessage), "\n", "; ")
}

// clip cuts a text where it is too long, between characters.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// ending is how the machine ended.
type ending struct {
	phase   string
	text    string // for people, in a line of its own before the outcome
	outcome contract.ExitInfo
	token   string // of the outcome's MAC, or ""
}

// exit writes the machine's outcome, the last line of its log, and waits until
// the console has sent it: powering off would drop what is in its buffer. The
// line before it, in the same write, is there for the outcome to start a line
// whatever the application has written.
func (l *logger) exit(last ending) {
	level := contract.LevelInfo
	if last.outcome.Code != 0 {
		level = contract.LevelError
	}
	last.outcome.Message = clip(last.outcome.Message, maxOutcome)
	lines := contract.LogLine(l.now(), level, last.phase, oneLine(last.text)) +
		contract.LogLine(l.now(), contract.LevelInfo, last.phase, last.outcome.Signed(last.token))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = true
		_, _ = io.WriteString(l.out, lines)
		if file, ok := l.out.(*os.File); ok {
			const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
			_ = unix.IoctlSetInt(int(file.Fd()), unix.TCSBRK, drain)
		}
	}()
	select {
	case <-sent:
	case <-time.After(l.patience):
	}
}

// openConsole makes the first console that opens the standard output and error
// of init, and so of all that it starts. Without one, these stay what the
// kernel made them.
func (m *machine) openConsole() error {
	console, err := openFirst(consoles)
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	for _, fd := range []int{unix.Stdout, unix.Stderr} {
		if err := unix.Dup3(console, fd, 0); err != nil {
			return fmt.Errorf("redirect output: %w", err)
		}
	}
	return unix.Close(console)
}

// openFirst opens the first of the files that can be opened for writing. The
// descriptor is a blocking one, as programs expect of their output.
func openFirst(names []string) (int, error) {
	var problems []error
	for _, name := range names {
		// A terminal must not become the controlling one of PID 1.
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", name, err))
	}
	return -1, errors.Join(problems...)
}
