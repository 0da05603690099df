package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/vm/agent"
)

// attachTerminal gives a command on a terminal the size of this one, now and
// when it changes, and its keys if standard input goes to the command: then this
// terminal leaves all of them, Ctrl-C too, to the other one until restore.
func attachTerminal(o *agent.ExecOptions) (restore func() error, err error) {
	if o.Stdin == nil {
		if !isTerminal(o.Stdout) {
			return func() error { return nil }, nil // of the default size
		}
		return followSize(o, o.Stdout.(*os.File))
	}
	terminal := o.Stdin.(*os.File)
	cooked, err := makeRaw(terminal)
	if err != nil {
		return nil, err
	}
	unfollow, err := followSize(o, terminal)
	if err != nil {
		return nil, errors.Join(err, cooked())
	}
	return func() error { return errors.Join(unfollow(), cooked()) }, nil
}

// followSize gives a command a terminal's size until stop.
func followSize(o *agent.ExecOptions, terminal *os.File) (stop func() error, err error) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH) // before the size is read, so that no change is missed
	size, err := terminalSize(terminal)
	if err != nil {
		signal.Stop(changed)
		return nil, err
	}
	sizes := make(chan agent.WindowSize)
	o.TTY = &agent.TTY{Size: size, Resize: sizes}
	ended := make(chan struct{})
	result := make(chan error, 1)
	go func() { result <- sendSizes(terminal, changed, sizes, ended) }()
	return func() error {
		signal.Stop(changed)
		close(ended)
		return <-result
	}, nil
}

// sendSizes sends a terminal's size whenever it has changed. While one is not
// taken, newer ones take its place.
func sendSizes(terminal *os.File, changed <-chan os.Signal, sizes chan<- agent.WindowSize, ended <-chan struct{}) error {
	var size agent.WindowSize
	var next chan<- agent.WindowSize // nil while there is nothing to send
	for {
		select {
		case <-changed:
			var err error
			if size, err = terminalSize(terminal); err != nil {
				return err
			}
			next = sizes
		case next <- size:
			next = nil
		case <-ended:
			return nil
		}
	}
}

// onDescriptor calls do with a file's descriptor, without a change of its mode.
func onDescriptor(file *os.File, do func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	err = conn.Control(func(fd uintptr) { doErr = do(int(fd)) })
	return cmp.Or(err, doErr)
}

// isTerminal tells whether a reader or writer is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && onDescriptor(file, func(fd int) error {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	}) == nil
}

func terminalSize(terminal *os.File) (size agent.WindowSize, err error) {
	err = onDescriptor(terminal, func(fd int) error {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			size = agent.WindowSize{Rows: w.Row, Cols: w.Col}
		}
		return err
	})
	if err != nil {
		return size, fmt.Errorf("read terminal size: %w", err)
	}
	return size, nil
}

// makeRaw makes a terminal hand on every byte as it is, as cfmakeraw(3) does.
func makeRaw(terminal *os.File) (restore func() error, err error) {
	var before *unix.Termios
	err = onDescriptor(terminal, func(fd int) (err error) {
		if before, err = unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return err
		}
		raw := *before
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(fd, unix.TCSETS, &raw)
	})
	if err != nil {
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	return func() error {
		err := onDescriptor(terminal, func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, before) })
		if err != nil {
			return fmt.Errorf("restore terminal: %w", err)
		}
		return nil
	}, nil
}
