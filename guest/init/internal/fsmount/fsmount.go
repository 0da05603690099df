// Package fsmount makes file systems and mounts them at open directories, by
// the kernel's calls that do one thing each (fsopen(2), fsmount(2),
// move_mount(2)): a mount can be made early and attached later, its place can be
// one that was resolved inside the image, and the kernel says what is wrong in
// words.
package fsmount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Create makes a file system with options as in mount(8), "key" or "key=value",
// and gives its mount, which is attached nowhere: a descriptor of the mount's
// root for paths only (O_PATH). Closing it unmounts what was not attached.
func Create(fstype string, readOnly bool, options ...string) (mount int, err error) {
	context, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return -1, fmt.Errorf("the kernel has no file system %s: %w", fstype, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open file system %s: %w", fstype, err)
	}
	defer unix.Close(context)
	attributes := 0
	if readOnly {
		attributes = unix.MOUNT_ATTR_RDONLY
		options = append([]string{"ro"}, options...)
	}
	for _, option := range options {
		key, value, isPair := strings.Cut(option, "=")
		if isPair {
			err = unix.FsconfigSetString(context, key, value)
		} else {
			err = unix.FsconfigSetFlag(context, key)
		}
		if err != nil {
			return -1, fmt.Errorf("set %s option %s: %w", fstype, option, explain(context, err))
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("mount %s: %w", fstype, explain(context, err))
	}
	mount, err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", fstype, explain(context, err))
	}
	return mount, nil
}

// Attach makes a mount that Create gave visible at an open directory.
func Attach(mount, dir int) error {
	if err := unix.MoveMount(mount, "", dir, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	return nil
}

// explain adds what the file system has to say: messages that start with their
// level, e for errors, one a read. Its text is free; control characters of a
// label, say, are quoted where it is logged.
func explain(context int, err error) error {
	message := make([]byte, 1024)
	for {
		n, readErr := unix.Read(context, message)
		if readErr != nil { // ENODATA: no more
			return err
		}
		if text, isError := strings.CutPrefix(strings.TrimSpace(string(message[:n])), "e "); isError {
			err = fmt.Errorf("%s: %w", text, err)
		}
	}
}
