package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
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
	for _, sig := range contract.ForwardedSignals {
		signal.Notify(forward, sig)
	}
	// One stands for any number.
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	return signals{forward: forward, child: child}
}

// runApplication runs the application and tells how it ended.
func (m *machine) runApplication() (ending, error) {
	outcome, err := m.awaitApplication()
	if err != nil {
		return ending{}, err
	}
	text := fmt.Sprintf("app exited with code %d (%s)", outcome.Code, outcome.Message)
	return ending{phase: "entrypoint", text: text, outcome: outcome}, nil
}

func (m *machine) awaitApplication() (contract.ExitInfo, error) {
	argv := m.config.Argv()
	if len(argv) == 0 {
		return contract.NewExitInfo(0), nil // as a shell does with nothing to run
	}
	user, err := m.lookUser()
	if err != nil {
		return contract.ExitInfo{}, err
	}
	if err := user.ownOutput(); err != nil {
		m.log.failed("entrypoint", err)
	}
	if err := os.MkdirAll(m.config.Workdir, 0o755); err != nil {
		return contract.ExitInfo{}, fmt.Errorf("make working directory: %w", err)
	}
	kernelLog, err := m.watchKernelLog()
	if err != nil {
		m.log.failed("entrypoint", err)
	}
	var status *unix.WaitStatus
	m.log.info("entrypoint", "%s ts=%s mode=%s", contract.ProgramStartMarker, m.log.now().UTC().Format(time.RFC3339Nano), m.config.InitMode)
	app, err := m.children.startCommand(program{
		argv: argv, env: m.config.Environ(user.home), dir: m.config.Workdir, credential: user.credential, group: m.group,
	}, func(s unix.WaitStatus) { status = &s })
	if err != nil {
		m.log.failed("entrypoint", err)
		return contract.NewExitInfo(startFailureCode(err)), nil
	}
	m.started()
	for status == nil {
		if err := m.serve(app); err != nil {
			return contract.ExitInfo{}, err
		}
	}
	outcome := exitInfo(*status)
	if outcome.Code != 128+int(unix.SIGKILL) {
		return outcome, nil
	}
	killed, err := m.outOfMemory(kernelLog, app)
	if err != nil {
		m.log.failed("entrypoint", err)
	}
	if killed {
		outcome = outcome.OOM()
	}
	return outcome, nil
}

func (m *machine) lookUser() (found user, err error) {
	root, err := inroot.Open("/")
	if err != nil {
		return user{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return lookUser(m.config.User, root)
}

// serve waits for and does one thing: it forwards a signal to the application,
// whose process group has its number, or reaps children, or does what another
// goroutine asks for.
func (m *machine) serve(app int) error {
	select {
	case sig := <-m.signals.forward:
		if err := m.children.signal(app, sig.(syscall.Signal), true); err != nil {
			m.log.failed("entrypoint", fmt.Errorf("forward %v: %w", sig, err))
		}
		if err := m.heedShutdown(app); err != nil {
			m.log.failed("entrypoint", err)
		}
	case <-m.signals.child:
		left, err := m.children.reap()
		if err == nil && !left && m.children.ended[app] != nil {
			err = errors.New("wait for application: it is no child")
		}
		return err
	case event := <-m.children.events:
		event()
	}
	return nil
}

// exitInfo tells a signal's kill from an exit with the code of one.
func exitInfo(status unix.WaitStatus) contract.ExitInfo {
	switch {
	case status.Signaled():
		return contract.NewKillInfo(status.Signal())
	case status.ExitStatus() > 128:
		return contract.NewPlainExitInfo(status.ExitStatus())
	default:
		return contract.NewExitInfo(status.ExitStatus())
	}
}

// shellCode is 128 plus the signal for a process that a signal ended.
func shellCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
