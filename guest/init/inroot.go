package main

import (
	"errors"
	"fmt"
	"path"
	"strings"

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
	dir := "/"
	for _, part := range strings.Split(strings.Trim(path.Dir(path.Clean("/"+name)), "/"), "/") {
		parent, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return -1, fmt.Errorf("open %s in the image: %w", dir, err)
		}
		err = unix.Mkdirat(parent, part, 0o755)
		unix.Close(parent)
		dir = path.Join(dir, part)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("make %s in the image: %w", dir, err)
		}
	}
	file, err := openIn(root, name, unix.O_CREAT|unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0o755)
	if err != nil {
		return -1, fmt.Errorf("make %s in the image: %w", name, err)
	}
	defer unix.Close(file)
	var stat unix.Stat_t
	if err := unix.Fstat(file, &stat); err != nil {
		return -1, fmt.Errorf("look at %s in the image: %w", name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, fmt.Errorf("%s in the image is no regular file", name)
	}
	fd, err := openIn(root, name, unix.O_PATH, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s in the image: %w", name, err)
	}
	return fd, nil
}
