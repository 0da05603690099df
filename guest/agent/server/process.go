package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// chunkSize bounds the output in one message, in bytes. The hypeman agent
// protocol gives it.
const chunkSize = 32 << 10

// process is a started command, the leader of a process group.
//
// It stays a zombie from its end until close. So its number, which is also that
// of the group, belongs to nobody else while kill may be called.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File // write end
	stdout *os.File // read end
	stderr *os.File // read end
	exited chan struct{}
	err    error // of start, after which the process runs nevertheless
}

// start starts cmd on three new pipes.
func start(cmd *exec.Cmd) (*process, error) {
	var r, w [3]*os.File
	for i := range r {
		var err error
		if r[i], w[i], err = os.Pipe(); err != nil {
			return nil, errors.Join(fmt.Errorf("make pipe: %w", err), closeAll(r[:i]...), closeAll(w[:i]...))
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r[0], w[1], w[2]
	err := cmd.Start()
	closeErr := closeAll(r[0], w[1], w[2])
	if err != nil {
		return nil, errors.Join(err, closeErr, closeAll(w[0], r[1], r[2]))
	}
	p := &process{cmd: cmd, stdin: w[0], stdout: r[1], stderr: r[2], exited: make(chan struct{}), err: closeErr}
	go p.awaitExit()
	return p, nil
}

// awaitExit closes exited when the command has ended, without reaping it.
func (p *process) awaitExit() {
	defer close(p.exited)
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // reap tells what is wrong if this is an error
		}
	}
}

// kill kills the command's process group. It must not be called after reap.
func (p *process) kill() error {
	pid := p.cmd.Process.Pid
	if err := unix.Kill(-pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process group: %w", err)
	}
	// The leader can have moved itself to another group.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill command: %w", err)
	}
	return nil
}

// reap waits for the command and returns its exit code, -1 if a signal killed
// it.
func (p *process) reap() (int, error) {
	err := p.cmd.Wait()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		return 0, fmt.Errorf("wait for command: %w", err)
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// closePipes releases the pipes, and whoever waits for them.
func (p *process) closePipes() error {
	return closeAll(p.stdin, p.stdout, p.stderr)
}

// relay sends the command's outputs, each in its order, and returns when both
// are at their end. It calls fail at once when one cannot go on.
func (p *process) relay(stdout, stderr func([]byte) error, fail func(error)) {
	var wg sync.WaitGroup
	one := func(r *os.File, send func([]byte) error) {
		if err := relayFile(r, send); err != nil {
			fail(err)
		}
	}
	wg.Go(func() { one(p.stdout, stdout) })
	wg.Go(func() { one(p.stderr, stderr) })
	wg.Wait()
}

// endOutput makes relay return after the grace time, also if a process that
// the command left behind has the pipes open. What the command itself has
// written is still sent, however slow the receiver is.
func (p *process) endOutput(grace time.Duration) error {
	deadline := time.Now().Add(grace)
	if err := errors.Join(p.stdout.SetReadDeadline(deadline), p.stderr.SetReadDeadline(deadline)); err != nil {
		return fmt.Errorf("limit output: %w", err)
	}
	return nil
}

// relayFile sends what is written to a pipe until its end, or until its read
// deadline and then what the pipe holds.
func relayFile(r *os.File, send func([]byte) error) error {
	buf := make([]byte, chunkSize)
	err := relayReader(r, buf, send)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	held, err := buffered(r)
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	if err := r.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	return relayReader(io.LimitReader(r, int64(held)), buf, send)
}

func relayReader(r io.Reader, buf []byte, send func([]byte) error) error {
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return fmt.Errorf("send output: %w", err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// buffered returns how many bytes can be read from a pipe without waiting.
func buffered(r *os.File) (int, error) {
	conn, err := r.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var ioctlErr error
	err = conn.Control(func(fd uintptr) { n, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(err, ioctlErr)
}

// closeAll closes files; one that is closed already is fine.
func closeAll(files ...*os.File) error {
	var errs []error
	for _, f := range files {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
