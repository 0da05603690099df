package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

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

// writeReadyFile writes the time and a newline for whoever looks for the file.
// It appears complete, by rename.
func writeReadyFile(name string, ready time.Time) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make ready file's folder: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".ready-*")
	if err != nil {
		return fmt.Errorf("make ready file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.WriteString(ready.UTC().Format(time.RFC3339Nano) + "\n")
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return fmt.Errorf("place ready file: %w", err)
	}
	return nil
}
