package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// forwarded are the signals that reach the application through init. To be
// caught at all keeps them from ending PID 1, and with it the kernel.
var forwarded = []os.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGINT}

func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	return signals
}

// runApplication starts the agent and the application and waits until the
// application has ended.
func (m *machine) runApplication(signals <-chan os.Signal) contract.ExitInfo {
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
		return contract.NewExitInfo(0) // as a shell does with nothing to run
	}
	if err := os.MkdirAll(m.config.Workdir, 0o755); err != nil {
		m.log.failed("entrypoint", fmt.Errorf("make working directory: %w", err))
	}
	m.log.info("entrypoint", "%s ts=%s mode=%s", contract.ProgramStartMarker, time.Now().UTC().Format(time.RFC3339Nano), m.config.InitMode)
	app, err := startCommand(argv, env, m.config.Workdir)
	if err != nil {
		m.log.failed("entrypoint", err)
		return contract.NewExitInfo(startFailureCode(err))
	}
	go func() {
		for sig := range signals {
			// The application leads its own process group. ESRCH: it has just ended.
			if err := unix.Kill(-app, sig.(syscall.Signal)); err != nil && !errors.Is(err, unix.ESRCH) {
				m.log.failed("entrypoint", fmt.Errorf("forward signal %v: %w", sig, err))
			}
		}
	}()
	return contract.NewExitInfo(m.reap(app, agent))
}

// reap waits for all children, orphans too, until the application has ended,
// and gives its exit code: 128 plus the signal for one that died by a signal.
// It is the only one that waits, so no exit code goes to another.
func (m *machine) reap(app, agent int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			m.log.failed("entrypoint", fmt.Errorf("wait for application: %w", err))
			return contract.ExitBootFailed
		case pid == agent:
			m.log.failed("agent", fmt.Errorf("agent ended with status %d", exitCode(status)))
		case pid == app:
			return exitCode(status)
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
	if errors.Is(err, unix.ENOEXEC) {
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

// lookPath finds an executable as a shell with env does: a name with a slash is
// a path, taken from dir, any other is looked for in PATH's folders in order.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	var path string
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			path = value
		}
	}
	found := fmt.Errorf("find %s on PATH: %w", name, exec.ErrNotFound)
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder) // an empty entry is the working directory
		}
		candidate := filepath.Join(folder, name)
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		// One that may not be run makes it 126, unless a later folder has another.
		if errors.Is(err, fs.ErrPermission) {
			found = err
		}
	}
	return "", found
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

// startFailureCode is the exit code that a shell gives a command it could not
// start: 127 for one that is not there, 126 for one that cannot be run.
func startFailureCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return contract.ExitNotFound
	}
	return contract.ExitNotExecutable
}
