package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/vm"
)

// The state folder has these, below which each machine has its name:
const (
	machinesFolder = "vm"    // a folder for the machine's files
	locksFolder    = "lock"  // a file with the number of the machine's process, which locks it while it lives
	endedFolder    = "ended" // a folder with what is left of the latest machine of a name that has ended

	// claimsLock is held while a folder and its lock come or go together. No
	// machine has such a name.
	claimsLock = ".claims"
)

// machineName is what a machine may be called: it becomes a folder's name.
var machineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,31}$`)

func checkName(name string) error {
	if !machineName.MatchString(name) {
		return usageError{fmt.Errorf("machine name %q: want 1 to 32 letters, digits, _, . or -, the first a letter or digit", name)}
	}
	return nil
}

// stateDir is where kindling keeps what is to outlive a process.
func stateDir() (string, error) {
	if dir := os.Getenv("KINDLING_STATE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	// https://specifications.freedesktop.org/basedir has relative paths ignored.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kindling"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find state folder (KINDLING_STATE_DIR names one): %w", err)
	}
	return filepath.Join(home, ".local", "state", "kindling"), nil
}

// machineDir is the folder of the machine of a name.
func machineDir(state, name string) (string, error) {
	dir := filepath.Join(state, machinesFolder, name)
	if len(dir) > vm.MaxDirLength {
		return "", fmt.Errorf("folder %s of machine %s is too long for its sockets by %d bytes; KINDLING_STATE_DIR names another place",
			dir, name, len(dir)-vm.MaxDirLength)
	}
	return dir, nil
}

// claim makes a machine's folder and holds its lock until release, which also
// removes the folder, but for the outcome and the logs of a machine that was
// started.
func claim(state, name string) (dir string, release func() error, err error) {
	if dir, err = machineDir(state, name); err != nil {
		return "", nil, err
	}
	unlock, err := lockClaims(state)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := sweep(state); err != nil {
		return "", nil, err
	}
	lock, err := lockFile(filepath.Join(state, locksFolder, name), os.O_CREATE)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return "", nil, fmt.Errorf("a machine called %s is running; choose another --name", name)
	}
	if err != nil {
		return "", nil, fmt.Errorf("lock machine %s: %w", name, err)
	}
	// Who ends the machine by force needs to know whose it is.
	_, err = fmt.Fprintln(lock, os.Getpid())
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		// A lock that stays would give the folder to the next sweep.
		return "", nil, errors.Join(fmt.Errorf("make folder of machine %s: %w", name, err), os.Remove(lock.Name()), lock.Close())
	}
	return dir, func() error {
		unlock, err := lockClaims(state)
		if err != nil {
			return err
		}
		return errors.Join(retire(state, name), prune(state), lock.Close(), unlock())
	}, nil
}

// lockClaims waits until no other process claims or releases a machine.
func lockClaims(state string) (unlock func() error, err error) {
	for _, folder := range []string{machinesFolder, locksFolder, endedFolder} {
		if err := os.MkdirAll(filepath.Join(state, folder), 0o700); err != nil {
			return nil, fmt.Errorf("make state folder: %w", err)
		}
	}
	file, err := os.OpenFile(filepath.Join(state, locksFolder, claimsLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state folder: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock state folder: %w", err), file.Close())
	}
	return file.Close, nil
}

// sweep retires the machines of killed processes: the kernel freed their locks.
func sweep(state string) error {
	entries, err := os.ReadDir(filepath.Join(state, locksFolder))
	if err != nil {
		return fmt.Errorf("find machines: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !machineName.MatchString(name) {
			continue
		}
		lock, err := lockFile(filepath.Join(state, locksFolder, name), 0)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrPermission) {
			continue // it runs, or it is another user's
		}
		if err != nil {
			return fmt.Errorf("lock machine %s: %w", name, err)
		}
		if err := errors.Join(retire(state, name), lock.Close()); err != nil {
			return fmt.Errorf("remove what a killed process left: %w", err)
		}
	}
	return nil
}

// lockFile locks a file, or gives EWOULDBLOCK where another process has it
// locked.
func lockFile(name string, flags int) (*os.File, error) {
	file, err := os.OpenFile(name, flags|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// errNotRunning is the error of a machine that is not running.
var errNotRunning = errors.New("machine is not running")

type notRunning struct{ name string }

func (e notRunning) Error() string        { return fmt.Sprintf("no machine called %s is running", e.name) }
func (e notRunning) Is(target error) bool { return target == errNotRunning }

// running gives the folder of a running machine, and a context that ends with
// it.
func running(ctx context.Context, state, name string) (_ context.Context, dir string, err error) {
	if dir, err = machineDir(state, name); err != nil {
		return nil, "", err
	}
	unlock, err := lockClaims(state)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	lock, err := lockFile(filepath.Join(state, locksFolder, name), 0)
	if err == nil { // a killed process left it
		err = errors.Join(fs.ErrNotExist, lock.Close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", notRunning{name}
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, "", fmt.Errorf("find machine %s: %w", name, err)
	}
	if lock, err = os.Open(filepath.Join(state, locksFolder, name)); err != nil {
		return nil, "", fmt.Errorf("find machine %s: %w", name, err)
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		// It is granted when the machine's process ends, in whatever way.
		err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_SH), lock.Close())
		end(errors.Join(fmt.Errorf("machine %s has ended", name), err))
	}()
	return ctx, dir, nil
}
