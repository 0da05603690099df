package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// children are the processes that init has started and what is to be done when
// one has ended. All of it, and every wait(2), is in one goroutine, so that no
// process can end before it is known, no exit code is lost to another waiter and
// no signal goes to a process that has got the number of one that ended.
type children struct {
	ended map[int]func(unix.WaitStatus)
	// events are what other goroutines want to have done in that one.
	events chan func()
}

func newChildren() children {
	return children{ended: map[int]func(unix.WaitStatus){}, events: make(chan func(), 16)}
}

// program is what to start and how.
type program struct {
	path       string
	argv, env  []string
	dir        string
	extra      []*os.File // descriptors from 3 on
	credential *syscall.Credential
	group      *memoryGroup
	console    *os.File // controlling terminal, input and output; nil for none
}

// start starts a program in a session and process group of its own, with
// /dev/null as its input and init's console as its output. Ended is called when
// it has.
func (c *children) start(p program, ended func(unix.WaitStatus)) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("open input: %w", err)
	}
	defer null.Close()
	attr := &os.ProcAttr{
		Dir:   p.dir,
		Env:   p.env,
		Files: append([]*os.File{null, os.Stdout, os.Stderr}, p.extra...),
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: p.credential},
	}
	if p.console != nil {
		attr.Files = []*os.File{p.console, p.console, p.console}
		attr.Sys.Setctty = true // of descriptor 0
	}
	if p.group != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(p.group.dir.Fd())
	}
	process, err := os.StartProcess(p.path, p.argv, attr)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", p.path, err)
	}
	pid = process.Pid // Release changes it
	c.ended[pid] = ended
	// reap waits for it, not this handle.
	return pid, process.Release()
}

// reap collects all children that have ended, orphans too. Left tells that
// there are more, which still run.
func (c *children) reap() (left bool, err error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("wait for children: %w", err)
		case pid == 0:
			return true, nil
		default:
			if ended := c.ended[pid]; ended != nil {
				delete(c.ended, pid)
				ended(status)
			}
		}
	}
}

// signal sends a signal to a child that has not been reaped, or to its process
// group. 0 and -1, which would be all processes, are no children.
func (c *children) signal(pid int, signal unix.Signal, toGroup bool) error {
	if c.ended[pid] == nil {
		return fmt.Errorf("signal process %d: %w", pid, unix.ESRCH)
	}
	if toGroup {
		pid = -pid
	}
	if err := unix.Kill(pid, signal); err != nil {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

// after has a function called by the goroutine that serves the children.
func (c *children) after(delay time.Duration, event func()) {
	time.AfterFunc(delay, func() { c.events <- event })
}
