package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// freeInitramfs gives the memory of the initramfs back: nothing can reach its
// files any more, and as long as they have names they are kept. Those in use
// stay until they are not.
func (m *machine) freeInitramfs() error {
	var err error
	if m.record.BeforeFreeKiB, err = memAvailable(); err != nil {
		return err
	}
	var root unix.Stat_t
	if err := unix.Fstat(m.initramfs, &root); err != nil {
		return fmt.Errorf("look at initramfs: %w", err)
	}
	fd := m.initramfs
	m.initramfs = -1
	if err := removeBelow(fd, root.Dev); err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	m.record.AfterFreeKiB, err = memAvailable()
	return err
}

// removeBelow removes all below a directory that is on the device, and closes
// the directory. Mount points stay.
func removeBelow(dir int, device uint64) (err error) {
	file := os.NewFile(uintptr(dir), "initramfs")
	defer func() { err = errors.Join(err, file.Close()) }()
	names, err := file.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list folder: %w", err)
	}
	var problems []error
	for _, name := range names {
		if err := removeFrom(int(file.Fd()), name, device); err != nil {
			problems = append(problems, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func removeFrom(dir int, name string, device uint64) error {
	err := unix.Unlinkat(dir, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	child, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(child, &stat); err != nil || stat.Dev != device {
		return errors.Join(err, unix.Close(child))
	}
	if err := removeBelow(child, device); err != nil {
		return err
	}
	err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) { // has a mount point
		return nil
	}
	return err
}

// memAvailable is MemAvailable of /proc/meminfo (proc(5)), in KiB.
func memAvailable() (int64, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read memory statistics: %w", err)
	}
	for line := range strings.Lines(string(info)) {
		if rest, found := strings.CutPrefix(line, "MemAvailable:"); found {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, errors.New("read memory statistics: no MemAvailable")
}
