package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/init/internal/modules"
)

// machine is what the boot steps find out and leave to the next ones.
type machine struct {
	log     *logger
	signals signals
	record  bootRecord

	release    string       // of the kernel
	modules    *modules.Set // the initramfs's, nil without any
	disks      *diskWatch
	config     *contract.Config
	initramfs  int // descriptor of its root, -1 before the root switch
	overlayDir int // descriptor of the overlay disk's root, -1 before its mount

	children children
	agent    agent
	group    *memoryGroup  // the application's, nil without one
	started  func()        // is called once the application has started
	ending   atomic.Bool   // of the machine: what runs beside the application is to stop
	grace    time.Duration // that a process may take to end

	// What tests have other ones of.
	uptime       func() time.Duration // since the kernel's start
	killAll      func(unix.Signal) error
	unmount      func() error // leaves the disks as if they were unmounted
	recordDir    string
	shutdownFile string
	kernelLog    string
}

func newMachine(log *logger) *machine {
	m := &machine{
		log: log, signals: catchSignals(), initramfs: -1, overlayDir: -1,
		children: newChildren(), agent: agent{path: contract.AgentPath}, grace: endGrace,
		uptime: uptime, recordDir: recordDir, shutdownFile: contract.ShutdownFile, kernelLog: "/dev/kmsg",
		killAll: killAll,
	}
	m.unmount = m.releaseDisks
	m.started = func() {}
	return m
}

// onFailure says what the failure of a step means.
type onFailure bool

const (
	stop onFailure = true  // the machine ends with the step's error as its outcome
	goOn onFailure = false // the error is logged
)

// step is one part of the boot. Name is its name in the record of the boot, and
// phase the one that the contract gives to its log lines.
type step struct {
	name, phase string
	do          func(*machine) error
	onFailure   onFailure
}

// steps in their order, which the application waits for. Every path into the image is resolved before the root
// switch with the image as root, and afterwards the image is the root.
var steps = []step{
	{"kernelfs", "mount", (*machine).mountKernelFilesystems, stop},
	{"console", "mount", (*machine).openConsole, goOn},
	{"loglevel", "boot", (*machine).quietKernel, goOn},
	{"modules", "modules", (*machine).loadModules, stop},
	{"overlay", "overlay", (*machine).mountOverlay, stop},
	{"config", "config", (*machine).readConfig, stop},
	{"served", "config", (*machine).refuseUnserved, stop},
	{"loopback", "network", (*machine).startLoopback, goOn},
	{"network", "network", (*machine).setUpNetwork, goOn},
	{"names", "network", (*machine).writeNames, goOn},
	{"volumes", "volumes", (*machine).mountVolumes, goOn},
	{"uevents", "volumes", (*machine).closeDiskWatch, goOn},
	{"place-agent", "agent", (*machine).placeAgent, goOn},
	{"gpu", "gpu", (*machine).startGPU, goOn},
	{"switch-root", "bind", (*machine).switchRoot, stop},
	{"directories", "bind", (*machine).makeDirectories, goOn},
	{"headers-status", "headers", (*machine).announceHeaders, goOn},
	{"cgroup", "setup", (*machine).makeMemoryGroup, goOn},
	{"systemd", "systemd", (*machine).prepareSystemd, goOn},
	{"agent-token", "agent", (*machine).writeAgentToken, stop},
}

// background are the steps beside the application, which begin once it has
// started. Before an image's own init takes over, they are steps like the others.
var background = []step{
	{"agent", "agent", (*machine).startAgent, goOn},
	{"headers", "headers", (*machine).installHeaders, goOn},
	{"host-clock", "modules", (*machine).startHostClock, goOn},
	{"free", "bind", (*machine).freeInitramfs, goOn},
	{"record", "boot", (*machine).writeRecord, goOn},
}

// live boots by the steps and runs the application and the background's steps
// beside it, ends whatever still runs and gives the phase that the machine ended
// in and its outcome.
func (m *machine) live(steps, background []step) (last ending) {
	last, booted := m.boot(steps)
	if booted {
		phase, run := "entrypoint", m.runApplication
		if m.handsOver() {
			phase, run = "systemd", m.handOver
			m.finishBoot(background)
		} else {
			m.started = func() { go giveWay(func() { m.finishBoot(background) }) }
		}
		m.reportBoot()
		if err := m.do(func() (err error) { last, err = run(); return err }); err != nil {
			last = bootFailed(phase, err)
		}
	}
	if m.config != nil {
		last.token = m.config.ExitToken
	}
	if err := m.do(m.end); err != nil {
		m.log.failed("setup", err)
	}
	return last
}

// boot runs the steps up to one whose failure stops it.
func (m *machine) boot(steps []step) (failed ending, ok bool) {
	for _, s := range steps {
		err := m.take(s)
		switch {
		case err == nil:
		case s.onFailure == stop:
			m.offerShell()
			return bootFailed(s.phase, err), false
		default:
			m.log.failed(s.phase, err)
		}
	}
	return ending{}, true
}

// finishBoot runs the steps of the background up to the machine's end.
func (m *machine) finishBoot(steps []step) {
	for _, s := range steps {
		if m.ending.Load() {
			return
		}
		if err := m.take(s); err != nil {
			m.log.failed(s.phase, err)
		}
	}
}

// take takes one step and records it.
func (m *machine) take(s step) error {
	start := m.uptime()
	err := m.do(func() error { return s.do(m) })
	m.record.add(s.name, start, m.uptime(), err)
	return err
}

// giveWay runs a function on a thread that is the last to get time and disks,
// and that ends with it.
func giveWay(do func()) {
	const ioprioWhoProcess, ioprioClassIdle, ioprioClassShift, niceness = 1, 3, 13, 10 // linux/ioprio.h
	runtime.LockOSThread()
	// Without them it is a little less polite and as right.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, ioprioClassIdle<<ioprioClassShift)
	do()
}

// bootFailed is the end of a machine that did not get to its application.
func bootFailed(phase string, err error) ending {
	return ending{phase: phase, text: fmt.Sprintf("boot failed: %v", err), outcome: contract.ExitInfo{
		Code: contract.ExitBootFailed, Message: fmt.Sprintf("boot failed: %s: %v", phase, err),
	}}
}

// do calls a function whose panic is an error like any other.
func (m *machine) do(call func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			stack := debug.Stack()
			_, _ = m.log.out.Write(stack[:min(len(stack), maxStack)])
			err = fmt.Errorf("init panicked: %v", reason)
		}
	}()
	return call()
}
