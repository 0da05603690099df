package server

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launch is what a command is to have from its first instruction on and
// syscall.SysProcAttr cannot give it. A program in between that executes the
// command would do, but it would load this one, with its megabytes, before each
// command, under an environment that the request chooses.
type launch struct {
	umask  *uint32
	limits []limit
	score  *oomScore // nil is this process's
}

// limit is one of setrlimit(2).
type limit struct {
	resource int
	values   unix.Rlimit
}

func (l launch) start(cmd *exec.Cmd) error {
	if l.score == nil {
		return l.startMasked(cmd)
	}
	var err error
	if scoreErr := l.score.whileUsual(func() { err = l.startMasked(cmd) }); err == nil && scoreErr != nil {
		err = abandon(cmd, scoreErr)
	}
	return err
}

func (l launch) startMasked(cmd *exec.Cmd) error {
	if l.umask == nil {
		return l.startStopped(cmd)
	}
	// A child has the umask of the thread that makes it. The thread gets one of
	// its own, and since it is locked it ends with its goroutine.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			started <- fmt.Errorf("set umask: %w", err)
			return
		}
		unix.Umask(int(*l.umask))
		started <- l.startStopped(cmd)
	}()
	return <-started
}

// startStopped starts a command under ptrace(2), which stops it when it has been
// executed and has done nothing yet, and lets it go with its limits.
func (l launch) startStopped(cmd *exec.Cmd) error {
	if len(l.limits) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := l.settle(cmd.Process.Pid); err != nil {
		return abandon(cmd, err)
	}
	return nil
}

// abandon ends a command that runs, if it does, and cannot be as it is to be.
func abandon(cmd *exec.Cmd, err error) error {
	if cmd.Process == nil {
		return err
	}
	err = errors.Join(err, cmd.Process.Kill())
	if waitErr := cmd.Wait(); waitErr != nil && !isExit(waitErr) {
		err = errors.Join(err, fmt.Errorf("wait for command: %w", waitErr))
	}
	return err
}

// settle waits for the stop of a command behind execve(2), and gives it its
// limits. One that has been killed meanwhile needs none.
func (l launch) settle(pid int) error {
	for {
		signal, stopped, err := awaitStop(pid)
		if err != nil {
			return fmt.Errorf("wait for start: %w", err)
		}
		if !stopped {
			return nil
		}
		if signal == unix.SIGTRAP {
			break
		}
		// Another one that came first is for the command.
		if err := ignoreGone(unix.PtraceCont(pid, int(signal))); err != nil {
			return fmt.Errorf("pass on signal: %w", err)
		}
	}
	for _, limit := range l.limits {
		if err := ignoreGone(unix.Prlimit(pid, limit.resource, &limit.values, nil)); err != nil {
			return fmt.Errorf("set resource limit %d: %w", limit.resource, err)
		}
	}
	if err := ignoreGone(unix.PtraceDetach(pid)); err != nil {
		return fmt.Errorf("let command go: %w", err)
	}
	return nil
}

// awaitStop waits until a child has stopped or ended, and leaves its end for
// others to wait for.
func awaitStop(pid int) (signal unix.Signal, stopped bool, err error) {
	// Of include/uapi/asm-generic/siginfo.h, on 64-bit machines. unix.Siginfo
	// names only the first three.
	var info struct {
		signo, errno, code, _ int32
		pid                   int32
		uid                   uint32
		status                int32
		_                     [100]byte
	}
	const trapped = 4 // CLD_TRAPPED
	const events = unix.WEXITED | unix.WSTOPPED | unix.WNOWAIT
	for {
		err = unix.Waitid(unix.P_PID, pid, (*unix.Siginfo)(unsafe.Pointer(&info)), events, nil)
		if !errors.Is(err, unix.EINTR) {
			return unix.Signal(info.status), info.code == trapped, err
		}
	}
}

func isExit(err error) bool {
	_, is := errors.AsType[*exec.ExitError](err)
	return is
}
