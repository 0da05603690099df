package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// notifyReady writes one byte to the pipe whose descriptor init has put into the
// environment as text, and closes it. An empty text means that nobody waits.
func notifyReady(text string) error {
	if text == "" {
		return nil
	}
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return fmt.Errorf("parse ready descriptor: %w", err)
	}
	// A wrong number could be a descriptor of the Go runtime or the listener.
	var stat unix.Stat_t
	if err := unix.Fstat(int(fd), &stat); err != nil {
		return fmt.Errorf("examine ready descriptor %d: %w", fd, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("examine ready descriptor %d: not a pipe", fd)
	}
	f := os.NewFile(uintptr(fd), "ready pipe")
	_, err = f.Write([]byte{0})
	return errors.Join(err, f.Close())
}
