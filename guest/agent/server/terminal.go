package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

const (
	defaultRows = 24
	defaultCols = 80
	// heldOutput is at least what a terminal holds of a command's output, in
	// bytes: the kernel's buffers of 64 KiB and the line discipline's 4 KiB
	// (drivers/tty/pty.c, n_tty.c).
	heldOutput = 72 << 10
	// heldTime is how long held output takes to come, which a kernel thread
	// moves.
	heldTime = 100 * time.Millisecond
)

// terminalEnv is the environment that a command on a terminal has below that of
// its request. The hypeman agent protocol gives it.
var terminalEnv = map[string]string{
	"TERM":      "xterm-256color",
	"LANG":      "C.UTF-8",
	"LC_ALL":    "C.UTF-8",
	"COLORTERM": "truecolor",
}

// openTerminal makes a terminal: the master is this side's, the slave the
// command's. It needs no path of devpts(5), which the root may not show.
func openTerminal(size *guestpb.WindowSize, owner *syscall.Credential) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		slave = os.NewFile(peer, "terminal")
		if owner != nil { // programs open their terminal by its name, too
			return unix.Fchown(int(peer), int(owner.Uid), -1)
		}
		return nil
	})
	if err == nil {
		err = resize(master, size)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("open terminal: %w", err), master.Close())
		if slave != nil {
			err = errors.Join(err, slave.Close())
		}
		return nil, nil, err
	}
	return master, slave, nil
}

// startSize is the size that a request wants its terminal to have.
func startSize(start *guestpb.ExecStart) *guestpb.WindowSize {
	size := &guestpb.WindowSize{Rows: start.GetRows(), Cols: start.GetCols()}
	if size.Rows == 0 {
		size.Rows = defaultRows
	}
	if size.Cols == 0 {
		size.Cols = defaultCols
	}
	return size
}

// resize sets a terminal's size. The kernel has 16 bits for it.
func resize(master *os.File, size *guestpb.WindowSize) error {
	const most = 1<<16 - 1
	err := control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
			Row: uint16(min(size.GetRows(), most)), Col: uint16(min(size.GetCols(), most)),
		})
	})
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// endInput types the character that ends a terminal's input, behind what was
// typed last. Within a line it ends only the line, and is needed twice
// (termios(3), VEOF).
func endInput(master *os.File, last byte) error {
	var eof byte
	err := control(master, func(fd int) error {
		settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			eof = settings.Cc[unix.VEOF]
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read terminal settings: %w", err)
	}
	if eof == 0 { // _POSIX_VDISABLE
		return nil
	}
	keys := []byte{eof}
	if last != 0 && last != '\n' && last != '\r' && last != eof {
		keys = append(keys, eof)
	}
	_, err = master.Write(keys)
	return err
}

// relayTerminal is relayFile for a terminal, whose end is that nobody has it
// open.
func relayTerminal(master *os.File, send func([]byte) error) error {
	buf := make([]byte, chunkSize)
	err := relayReader(master, buf, send)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = relayReader(io.LimitReader(heldReader{master}, heldOutput), buf, send)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
	}
	if errors.Is(err, unix.EIO) {
		return nil
	}
	return err
}

// heldReader reads what comes within heldTime.
type heldReader struct{ master *os.File }

func (r heldReader) Read(b []byte) (int, error) {
	if err := r.master.SetReadDeadline(time.Now().Add(heldTime)); err != nil {
		return 0, err
	}
	return r.master.Read(b)
}

// control calls a function with a file's descriptor, which stays open
// meanwhile. os.File.Fd would make reads from it wait for ever.
func control(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) { callErr = call(int(fd)) })
	return errors.Join(err, callErr)
}
