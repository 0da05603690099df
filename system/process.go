package system

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Process is a process of this machine, told from another that gets its number
// later.
type Process struct {
	PID       int    `json:"pid"`
	Start     uint64 `json:"start"`        // clock ticks after the boot: field 22 of /proc/PID/stat
	BootID    string `json:"bootId"`       // of /proc/sys/kernel/random
	Namespace string `json:"pidNamespace"` // pid:[NUMBER], in which PID counts
}

// ProcessOf describes a process that is alive.
func ProcessOf(pid int) (*Process, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("describe process %d: %w", pid, err)
	}
	state, start, err := processStat(pid)
	if err == nil && isDead(state) {
		err = syscall.ESRCH
	}
	if err != nil {
		return nil, fmt.Errorf("describe process %d: %w", pid, err)
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("describe process %d: %w", pid, err)
	}
	return &Process{PID: pid, Start: start, BootID: boot, Namespace: namespace}, nil
}

// Alive reports whether the process may still be there. One of another container
// cannot be seen, so that it counts as alive as long as the machine runs.
func (p *Process) Alive() (bool, error) {
	boot, err := bootID()
	if err != nil || boot != p.BootID {
		return false, err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return false, err
	}
	if namespace != p.Namespace {
		return true, nil
	}
	state, start, err := processStat(p.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		// A /proc mounted with hidepid does not show the processes of others.
		return errors.Is(syscall.Kill(p.PID, 0), syscall.EPERM), nil
	}
	if err != nil {
		return false, err
	}
	return start == p.Start && !isDead(state), nil
}

func isDead(state byte) bool { return state == 'Z' || state == 'X' }

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// processStat reads fields 3 and 22 of /proc/PID/stat, see proc_pid_stat(5). The
// second field is a name in brackets, which may have any bytes.
func processStat(pid int) (state byte, start uint64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: it has no field 22", pid)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}
