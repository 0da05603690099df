package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endGrace is how long what the application left behind may take to end. Hosts
// wait 5 seconds for a machine that they stop, of which the application's own
// end is a part.
const endGrace = 2 * time.Second

// end ends all processes and leaves the disks as if they were unmounted.
func (m *machine) end() error {
	m.agent.stopped = true
	m.ending.Store(true)
	err := m.endProcesses()
	unix.Sync()
	return errors.Join(err, m.unmount())
}

// endProcesses asks all processes to end, kills those that do not, and reaps
// them.
func (m *machine) endProcesses() error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := m.killAll(signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal processes: %w", err)
		}
		deadline := time.NewTimer(m.grace)
		defer deadline.Stop()
		for waiting := true; waiting; {
			left, err := m.children.reap()
			if err != nil || !left {
				return err
			}
			select {
			case <-m.signals.child:
			case <-m.signals.forward: // there is nobody to get it
			case event := <-m.children.events:
				event()
			case <-deadline.C:
				waiting = false
			}
		}
	}
	return fmt.Errorf("processes outlive SIGKILL by %v", m.grace)
}

// killAll signals all processes but this one, where these are the guest's.
func killAll(signal unix.Signal) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("signal all processes: %w", unix.EPERM)
	}
	return unix.Kill(-1, signal)
}

// releaseDisks unmounts what can be, and makes read-only what cannot: the root
// and the disk below it.
func (m *machine) releaseDisks() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var problems []error
	targets := mountPoints(mounts)
	for _, target := range slices.Backward(targets) {
		if isKernels(target) {
			continue
		}
		unmountErr := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		if unmountErr == nil {
			continue
		}
		if err := remountReadOnly(target); err != nil {
			problems = append(problems, fmt.Errorf("unmount %s: %w, and remount read-only: %w", target, unmountErr, err))
		}
	}
	if m.overlayDir >= 0 {
		if err := remountReadOnly("/proc/self/fd/" + strconv.Itoa(m.overlayDir)); err != nil {
			problems = append(problems, fmt.Errorf("remount overlay disk read-only: %w", err))
		}
	}
	return errors.Join(problems...)
}

func remountReadOnly(target string) error {
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// isKernels tells the mounts that have no disk and that the end needs.
func isKernels(target string) bool {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if target == dir || strings.HasPrefix(target, dir+"/") {
			return true
		}
	}
	return false
}

// mountPoints are the mount points of a /proc/PID/mountinfo (proc(5)) in its
// order.
func mountPoints(mountinfo []byte) []string {
	var points []string
	for line := range bytes.Lines(mountinfo) {
		if fields := bytes.Fields(line); len(fields) > 4 {
			points = append(points, path.Clean(unescape(string(fields[4]))))
		}
	}
	return points
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
