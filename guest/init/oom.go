package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryGroup is the application's cgroup, which counts the kills for want of
// memory among the application and all that it started, and no others
// (Documentation/admin-guide/cgroup-v2.rst, memory.events).
type memoryGroup struct {
	dir *os.File
}

// makeMemoryGroup makes the cgroup that the application will start in.
func (m *machine) makeMemoryGroup() (err error) {
	if m.handsOver() {
		return nil // the groups are systemd's
	}
	m.group, err = newMemoryGroup("/sys/fs/cgroup")
	return err
}

func newMemoryGroup(root string) (*memoryGroup, error) {
	// The file is the kernel's; there is none without cgroup2.
	if err := writeExisting(path.Join(root, "cgroup.subtree_control"), "+memory"); err != nil {
		return nil, fmt.Errorf("count memory: %w", err)
	}
	name := path.Join(root, "application")
	if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	dir, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return &memoryGroup{dir}, nil
}

// writeExisting writes a file of the kernel's.
func writeExisting(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// kills is how often the kernel has killed in the group for want of memory.
func (g *memoryGroup) kills() (int, error) {
	events, err := os.ReadFile(path.Join(g.dir.Name(), "memory.events"))
	if err != nil {
		return 0, fmt.Errorf("read memory events: %w", err)
	}
	for line := range strings.Lines(string(events)) {
		if count, found := strings.CutPrefix(line, "oom_kill "); found {
			return strconv.Atoi(strings.TrimSpace(count))
		}
	}
	return 0, errors.New("read memory events: no oom_kill")
}

// kernelLog reads records of /dev/kmsg without waiting for more.
type kernelLog struct {
	fd int
}

// watchKernelLog opens the kernel's log behind what it has now, where there is
// no group to count.
func (m *machine) watchKernelLog() (*kernelLog, error) {
	if m.group != nil {
		return nil, nil
	}
	fd, err := unix.Open(m.kernelLog, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open kernel log: %w", err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		return nil, errors.Join(fmt.Errorf("skip kernel log: %w", err), unix.Close(fd))
	}
	return &kernelLog{fd}, nil
}

// outOfMemory tells whether the kernel killed in the application for want of
// memory. Without a group, only a kill of the application's first process is
// known to be the application's.
func (m *machine) outOfMemory(log *kernelLog, app int) (bool, error) {
	if m.group != nil {
		kills, err := m.group.kills()
		return kills > 0, err
	}
	if log == nil {
		return false, nil
	}
	return killedIn(func(record []byte) (int, error) { return unix.Read(log.fd, record) }, app)
}

// killedIn looks for a kill of a process in records of the kernel's log, one a
// read (Documentation/ABI/testing/dev-kmsg).
func killedIn(read func([]byte) (int, error), pid int) (bool, error) {
	kill := fmt.Appendf(nil, "Killed process %d ", pid) // __oom_kill_process of mm/oom_kill.c
	record := make([]byte, 8192)
	for {
		n, err := read(record)
		switch {
		case errors.Is(err, unix.EAGAIN) || err == nil && n == 0:
			return false, nil
		case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR): // records were overwritten
		case err != nil:
			return false, fmt.Errorf("read kernel log: %w", err)
		case fromKernel(record[:n]) && bytes.Contains(record[:n], kill):
			return true, nil
		}
	}
}

// fromKernel tells the kernel's records from those that a program wrote: theirs
// have another facility.
func fromKernel(record []byte) bool {
	prefix, _, _ := bytes.Cut(record, []byte(","))
	priority, err := strconv.Atoi(string(prefix))
	return err == nil && priority>>3 == 0
}
