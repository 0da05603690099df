package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// The test binary is also the processes that the tests need: started with the
// name of a role as its first argument, it plays that role.
var roles = map[string]func() error{
	"init":   asInit,
	"reaper": asReaper,
	"report": asReport,
	"leader": asLeader,
	"member": asMember,
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
	m := machineWithLog(os.Stderr)
	m.killAll = killChildren
	return m, nil
}

// machineWithLog is a machine that lets the machine it runs on be.
func machineWithLog(out io.Writer) *machine {
	log := newLogger(out)
	log.now = func() time.Time { return testTime }
	m := newMachine(log)
	m.uptime = func() time.Duration { return time.Second }
	m.killAll = func(unix.Signal) error { return unix.EPERM }
	m.unmount = func() error { return nil }
	m.kernelLog = os.DevNull
	return m
}

// killChildren signals what kill(-1) does in a guest: all that this process has
// started, which are its children once their parents have ended.
func killChildren(signal unix.Signal) error {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, child := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				return err
			}
			if err := unix.Kill(pid, signal); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}

// asInit is init from behind the root switch on. It tells when it has caught the
// signals, and takes the config from its input. Its arguments are the agent's
// path, the grace for what is left behind, and the path of the shutdown note.
func asInit() (err error) {
	m, err := newTestMachine()
	if err != nil {
		return err
	}
	if m.recordDir, err = os.MkdirTemp("", "init"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(m.recordDir)) }()
	if len(os.Args) > 2 {
		m.agent.path = os.Args[2]
	}
	m.grace = time.Minute
	if len(os.Args) > 3 {
		if m.grace, err = time.ParseDuration(os.Args[3]); err != nil {
			return err
		}
	}
	if len(os.Args) > 4 {
		m.shutdownFile = os.Args[4]
	}
	fmt.Println("signals are caught")
	if m.config, err = contract.ReadConfig(os.Stdin); err != nil {
		return err
	}
	m.log.exit(m.live(nil, []step{
		{"agent", "agent", (*machine).startAgent, goOn},
		{"record", "boot", (*machine).writeRecord, goOn},
	}))
	return nil
}

// asReaper is init with many children at a time, some of which leave orphans
// behind. It tells how many ended as they should.
func asReaper() error {
	m, err := newTestMachine()
	if err != nil {
		return err
	}
	const atATime = 24
	random := rand.New(rand.NewPCG(1, 2))
	running, right := 0, 0
	for i := range reaperRuns {
		want := random.IntN(256)
		end := fmt.Sprintf("exit %d", want)
		switch {
		case i%7 == 0:
			end, want = "kill -KILL $$", 128+9
		case i%100 == 1:
			end = "i=0; while [ $i -lt 32 ]; do (exit 5) & i=$((i+1)); done; " + end
		}
		_, err := m.children.start(program{path: "/bin/sh", argv: []string{"sh", "-c", end}, dir: "/"}, func(status unix.WaitStatus) {
			running--
			if shellCode(status) == want {
				right++
			}
		})
		if err != nil {
			return err
		}
		for running++; running >= atATime || i == reaperRuns-1 && running > 0; {
			if err := m.serve(0); err != nil {
				return err
			}
		}
	}
	if err := m.endProcesses(); err != nil {
		return err
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		return fmt.Errorf("left behind: child %d, %v", pid, err)
	}
	fmt.Println(right, "are right")
	return nil
}

const reaperRuns = 10_000

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
