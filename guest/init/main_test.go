package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// The test binary is also the processes that the tests need: started with the
// name of a role as its first argument, it plays that role.
var roles = map[string]func() error{
	"init":      asInit,
	"reaper":    asReaper,
	"agent-end": asAgentEnd,
	"report":    asReport,
	"leader":    asLeader,
	"member":    asMember,
}

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	if err := roles[os.Args[1]](); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(99)
	}
}

var testTime = time.Date(2026, time.February, 13, 16, 26, 27, 999, time.FixedZone("", 3600))

// logStart is how the lines of a log with testTime start.
const logStart = "2026-02-13T15:26:27Z "

// newTestMachine is a machine in a process that gets its orphans, as PID 1 does.
func newTestMachine() (*machine, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	log := newLogger(os.Stderr)
	log.now = func() time.Time { return testTime }
	return &machine{log: log, signals: catchSignals()}, nil
}

// asInit is init from the step that runs the application on. It tells when it
// has caught the signals, and takes the config from its input.
func asInit() error {
	m, err := newTestMachine()
	if err != nil {
		return err
	}
	fmt.Println("signals are caught")
	if m.config, err = contract.ReadConfig(os.Stdin); err != nil {
		return err
	}
	m.log.exit(m.run(steps[len(steps)-1:]))
	return nil
}

// asReaper is init with one application after the other. Each leaves orphans to
// the next one and ends in its own way. It tells how many ended as it wanted.
func asReaper() error {
	m, err := newTestMachine()
	if err != nil {
		return err
	}
	right := 0
	for i := range reaperRuns {
		const orphans = "i=0; while [ $i -lt 32 ]; do (exit 5) & i=$((i+1)); done; "
		end, want := fmt.Sprintf("exit %d", i), i
		if i%3 == 0 {
			end, want = "kill -KILL $$", 128+9
		}
		app, err := start("/bin/sh", []string{"sh", "-c", orphans + end}, nil, "/")
		if err != nil {
			return err
		}
		got, err := m.supervise(app, 0)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("application %d ended with %d, want %d", i, got, want)
		}
		right++
	}
	fmt.Println(right, "are right")
	return nil
}

const reaperRuns = 100

// asAgentEnd is init with an application that waits until the agent is gone.
func asAgentEnd() error {
	m, err := newTestMachine()
	if err != nil {
		return err
	}
	agent, err := start("/bin/sh", sh("exit 3"), nil, "/")
	if err != nil {
		return err
	}
	app, err := start("/bin/sh", sh(busy(strconv.Itoa(agent), 7)), nil, "/")
	if err != nil {
		return err
	}
	code, err := m.supervise(app, agent)
	if err != nil {
		return err
	}
	fmt.Println("application ended with", code)
	return nil
}

// report is what a program sees of how it was started.
type report struct {
	Args, Env []string
	Dir       string
	Input     string // /dev/null
	Leads     bool   // its session and process group
}

func asReport() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	input, err := os.Readlink("/proc/self/fd/0")
	if err != nil {
		return err
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return err
	}
	leads := session == os.Getpid() && unix.Getpgrp() == os.Getpid()
	return json.NewEncoder(os.Stdout).Encode(report{Args: os.Args, Env: os.Environ(), Dir: dir, Input: input, Leads: leads})
}

// asLeader is an application with another process in its group. It exits with 9
// once both have got a signal.
func asLeader() error {
	member := exec.Command("/proc/self/exe", "member")
	member.Stdout, member.Stderr = os.Stdout, os.Stderr
	if err := member.Start(); err != nil {
		return err
	}
	if err := asMember(); err != nil {
		return err
	}
	if err := member.Wait(); err != nil {
		return err
	}
	os.Exit(9)
	return nil
}

func asMember() error {
	// It must not outlive a test that fails.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	signal.Reset(syscall.SIGURG, syscall.SIGCHLD) // the Go runtime's and the leader's own
	fmt.Printf("%s is ready\n", os.Args[1])
	fmt.Printf("%s got %v\n", os.Args[1], <-signals)
	return nil
}
