package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// machineName is what a machine may be called: it becomes a folder's name.
var machineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,31}$`)

// stateDir is where running machines have their folders.
func stateDir() (string, error) {
	if dir := os.Getenv("KINDLING_STATE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "kindling"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find state folder (KINDLING_STATE_DIR names one): %w", err)
	}
	return filepath.Join(home, ".local", "state", "kindling"), nil
}

// machineDir is the folder of the machine of a name.
func machineDir(name string) (string, error) {
	if !machineName.MatchString(name) {
		return "", usageError{fmt.Errorf("machine name %q: want 1 to 32 letters, digits, _, . or -, the first a letter or digit", name)}
	}
	state, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(state, "vm", name), nil
}

// claim makes a machine's folder and holds its lock until release, which also
// removes the folder unless it is kept. What a killed process left is removed
// first: the kernel freed its lock.
func claim(name string) (dir string, release func(keep bool) error, err error) {
	dir, err = machineDir(name)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("open lock of machine %s: %w", name, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, lock.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil, fmt.Errorf("a machine called %s is running; choose another --name", name)
		}
		return "", nil, fmt.Errorf("lock machine %s: %w", name, err)
	}
	err = os.RemoveAll(dir)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("make folder of machine %s: %w", name, err), lock.Close())
	}
	return dir, func(keep bool) error {
		var err error
		if !keep {
			// The lock's file goes while the lock is held: who opened it meanwhile
			// finds the folder free under a new file.
			err = errors.Join(os.RemoveAll(dir), os.Remove(lock.Name()))
		}
		return errors.Join(err, lock.Close())
	}, nil
}

// socketOf is the vsock socket of a running machine.
func socketOf(name, socket string) (string, error) {
	dir, err := machineDir(name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, socket)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no machine called %s is running", name)
	} else if err != nil {
		return "", fmt.Errorf("find machine %s: %w", name, err)
	}
	return path, nil
}
