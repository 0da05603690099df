package main

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// openIn opens a path as if root were the root: links and .. stay inside
// (openat2(2), RESOLVE_IN_ROOT).
func openIn(root int, name string, flags uint64, mode uint64) (int, error) {
	for {
		fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Mode: mode, Resolve: unix.RESOLVE_IN_ROOT})
		// EAGAIN: something was renamed meanwhile and the kernel could not be sure.
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// ensureFileIn opens a regular file, made when missing as are its parents, all
// inside root. The descriptor is for its path only.
func ensureFileIn(root int, name string) (int, error) {
	name = path.Clean("/" + name)
	for i, char := range name {
		if char != '/' || i == 0 {
			continue
		}
		if err := ensureDirectoryIn(root, name[:i]); err != nil {
			return -1, err
		}
	}
	// Nothing but a path is opened of what is there already: it may be a FIFO or
	// a device.
	fd, err := openIn(root, name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) {
		created, createErr := openIn(root, name, unix.O_CREAT|unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0o755)
		if createErr != nil {
			return -1, fmt.Errorf("make %s in the image: %w", name, createErr)
		}
		unix.Close(created)
		fd, err = openIn(root, name, unix.O_PATH, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s in the image: %w", name, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("look at %s in the image: %w", name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, fmt.Errorf("%s in the image is no regular file", name)
	}
	return fd, nil
}

// ensureDirectoryIn makes a directory inside root unless something has its
// name. The parent must be there.
func ensureDirectoryIn(root int, dir string) error {
	parent, err := openIn(root, path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open %s in the image: %w", path.Dir(dir), err)
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s in the image: %w", dir, err)
	}
	return nil
}
