package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// chunkSize bounds the output in one message, in bytes. The hypeman agent
// protocol gives 32 KiB; a message that is larger than that with all that is
// around the output takes gRPC a buffer of a megabyte (grpc/mem).
const chunkSize = 32<<10 - 64

// process is a started command, the leader of a process group, and on a
// terminal of a session.
//
// It stays a zombie from its end until reap. So its number, which is also that
// of the group, belongs to nobody else while kill may be called.
type process struct {
	cmd      *exec.Cmd
	stdin    *os.File // write end
	stdout   *os.File // read end
	stderr   *os.File // read end
	terminal *os.File // master; then it is stdin and stdout, and stderr is nil
	exited   chan struct{}
	err      error // of start, after which the process runs nevertheless

	mu sync.Mutex // reaps, or signals what is not reaped
}

// start starts a command on three new pipes, or on a new terminal.
func start(p *plan) (*process, error) {
	if p.size != nil {
		return startOnTerminal(p)
	}
	cmd := p.cmd
	var r, w [3]*os.File
	for i := range r {
		var err error
		if r[i], w[i], err = os.Pipe(); err != nil {
			return nil, errors.Join(fmt.Errorf("make pipe: %w", err), closeAll(r[:i]...), closeAll(w[:i]...))
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r[0], w[1], w[2]
	err := p.launch.start(cmd)
	closeErr := closeAll(r[0], w[1], w[2])
	if err != nil {
		return nil, errors.Join(err, closeErr, closeAll(w[0], r[1], r[2]))
	}
	started := &process{cmd: cmd, stdin: w[0], stdout: r[1], stderr: r[2], exited: make(chan struct{}), err: closeErr}
	go started.awaitExit()
	return started, nil
}

func startOnTerminal(p *plan) (*process, error) {
	master, slave, err := openTerminal(p.size, p.cmd.SysProcAttr.Credential)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	err = p.launch.start(p.cmd)
	closeErr := slave.Close()
	if err != nil {
		return nil, errors.Join(err, closeErr, master.Close())
	}
	started := &process{
		cmd: p.cmd, stdin: master, stdout: master, terminal: master, exited: make(chan struct{}), err: closeErr,
	}
	go started.awaitExit()
	return started, nil
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

// kill kills the command's process group, and on a terminal its session. It must
// not be called after reap.
func (p *process) kill() error {
	pid := p.cmd.Process.Pid
	if err := ignoreGone(unix.Kill(-pid, unix.SIGKILL)); err != nil {
		return fmt.Errorf("kill process group: %w", err)
	}
	// The leader can have moved itself to another group.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill command: %w", err)
	}
	if p.terminal != nil {
		return killSession(pid)
	}
	return nil
}

// signal sends a signal to the process group of a command that runs. It is
// os.ErrProcessDone that it does not.
func (p *process) signal(signal unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return os.ErrProcessDone
	default:
	}
	return unix.Kill(-p.cmd.Process.Pid, signal)
}

// reap waits for the command and tells how it ended.
func (p *process) reap() (outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Wait(); err != nil && !isExit(err) {
		return outcome{}, fmt.Errorf("wait for command: %w", err)
	}
	ended := outcome{code: p.cmd.ProcessState.ExitCode()}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		ended.signal = status.Signal()
	}
	return ended, nil
}

// closePipes releases the pipes, and whoever waits for them.
func (p *process) closePipes() error {
	if p.terminal != nil {
		return closeAll(p.terminal)
	}
	return closeAll(p.stdin, p.stdout, p.stderr)
}

// relay sends the command's outputs, each in its order, and returns when both
// are at their end. It calls fail at once when one cannot go on.
func (p *process) relay(stdout, stderr func([]byte) error, fail func(error)) {
	if p.terminal != nil {
		if err := relayTerminal(p.terminal, stdout); err != nil {
			fail(err)
		}
		return
	}
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
	err := p.stdout.SetReadDeadline(deadline)
	if p.terminal == nil {
		err = errors.Join(err, p.stderr.SetReadDeadline(deadline))
	}
	if err != nil {
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
func buffered(r *os.File) (n int, err error) {
	err = control(r, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		return err
	})
	return n, err
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
