package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// signals are those that init acts on, caught from its start, so that one that
// comes early reaches the application all the same.
type signals struct {
	forward <-chan os.Signal // to go to the application
	child   <-chan os.Signal // a child has ended
}

func catchSignals() signals {
	// The kernel keeps signals from a PID 1 that has no handler for them. The Go
	// runtime has one for each, and ends the program on some, and with PID 1 the
	// kernel. Nobody reads this channel: what is not asked for below is dropped.
	signal.Notify(make(chan os.Signal, 1))
	forward := make(chan os.Signal, 16)
	signal.Notify(forward, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGINT)
	// One stands for any number.
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	return signals{forward: forward, child: child}
}

// runApplication starts the agent and the application, waits until the
// application has ended and leaves its outcome.
func (m *machine) runApplication() error {
	env := m.config.Environ()
	agent := 0
	if !m.config.SkipGuestAgent {
		var err error
		if agent, err = start(contract.AgentPath, []string{contract.AgentPath}, env, "/"); err != nil {
			m.log.failed("agent", err)
		}
	}
	argv := m.config.Argv()
	if len(argv) == 0 {
		m.outcome = contract.NewExitInfo(0) // as a shell does with nothing to run
		return nil
	}
	workdir := path.Join("/", m.config.Workdir)
	if err := os.MkdirAll(workdir, 0o755); err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	m.log.info("entrypoint", "%s ts=%s mode=%s", contract.ProgramStartMarker, m.log.now().UTC().Format(time.RFC3339Nano), m.config.InitMode)
	app, err := startCommand(argv, env, workdir)
	code := 0
	if err != nil {
		m.log.failed("entrypoint", err)
		code = startFailureCode(err)
	} else if code, err = m.supervise(app, agent); err != nil {
		return err
	}
	m.outcome = contract.NewExitInfo(code)
	ended := fmt.Sprintf("app exited with code %d (%s)", code, m.outcome.Message)
	if code == 0 {
		m.log.info("entrypoint", "%s", ended)
	} else {
		m.log.failed("entrypoint", errors.New(ended))
	}
	return nil
}

// supervise forwards signals to the application, whose process group has its
// number, and reaps all children, orphans too, until the application has ended.
// It gives the exit code: 128 plus the signal for one that died by a signal.
//
// One loop does both, so that no signal goes to a process that has got the
// application's number after it, and no exit code is lost to another waiter.
func (m *machine) supervise(app, agent int) (code int, err error) {
	for {
		select {
		case sig := <-m.signals.forward:
			if err := unix.Kill(-app, sig.(syscall.Signal)); err != nil {
				m.log.failed("entrypoint", fmt.Errorf("forward signal %v: %w", sig, err))
			}
		case <-m.signals.child:
			if code, ended, err := m.reap(app, agent); ended || err != nil {
				return code, err
			}
		}
	}
}

// reap collects the children that have ended, up to the application.
func (m *machine) reap(app, agent int) (code int, ended bool, err error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, false, fmt.Errorf("wait for application: %w", err)
		case pid == 0:
			return 0, false, nil // the others still run
		case pid == app:
			return exitCode(status), true, nil
		case pid == agent:
			m.log.failed("agent", fmt.Errorf("agent ended with status %d", exitCode(status)))
		}
	}
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// startCommand finds the command on the PATH of env and starts it.
func startCommand(argv, env []string, dir string) (pid int, err error) {
	program, err := lookPath(argv[0], env, dir)
	if err != nil {
		return 0, err
	}
	pid, err = start(program, argv, env, dir)
	switch {
	case errors.Is(err, unix.ENOENT): // the program itself is there
		return 0, fmt.Errorf("%w: the image does not have the interpreter that it names", err)
	case errors.Is(err, unix.ENOEXEC) && isText(from(dir, program)):
		// A script without a first line: POSIX has shells run it themselves.
		return start("/bin/sh", append([]string{"sh", program}, argv[1:]...), env, dir)
	}
	return pid, err
}

// start runs a program in its own session, with /dev/null as its input and
// init's console as its output.
func start(program string, argv, env []string, dir string) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("open input: %w", err)
	}
	defer null.Close()
	process, err := os.StartProcess(program, argv, &os.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", program, err)
	}
	pid = process.Pid
	// reap waits for it, not this handle.
	return pid, process.Release()
}

// lookPath finds an executable as a shell with env and dir does. A name with a
// slash is a path, any other is looked for in PATH's folders in order. What it
// returns is from dir.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(from(dir, name))
	}
	missing := fmt.Errorf("find %q on PATH: %w", name, exec.ErrNotFound)
	if name == "" {
		return "", missing
	}
	var folders string
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			folders = value
		}
	}
	for folder := range strings.SplitSeq(folders, ":") {
		candidate := path.Join(folder, name) // an empty folder is the working directory
		err := executable(from(dir, candidate))
		if err == nil {
			return candidate, nil
		}
		// One that may not be run makes it 126, unless a later folder has another.
		if errors.Is(err, fs.ErrPermission) {
			missing = err
		}
	}
	return "", missing
}

// from is name as a process in dir means it.
func from(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

func executable(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "execute", Path: name, Err: unix.EACCES}
	}
	return nil
}

// isText tells a script from a program for another machine as shells do: by
// bytes that no text has.
func isText(name string) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	begin := make([]byte, 128)
	n, err := io.ReadFull(file, begin)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false
	}
	return !bytes.Contains(begin[:n], []byte{0})
}

// startFailureCode is the exit code that a shell gives a command it could not
// start: 127 for one that is not there, 126 for one that cannot be run.
func startFailureCode(err error) int {
	for _, notThere := range []error{exec.ErrNotFound, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG} {
		if errors.Is(err, notThere) {
			return contract.ExitNotFound
		}
	}
	return contract.ExitNotExecutable
}
