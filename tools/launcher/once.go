package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// once makes a folder unless it is there. It is filled beside its place and
// renamed into it, so it is whole or absent, and only one launcher does it.
//
// A child that writes into the folder must be given the lock, so that it counts
// as held until that child has ended too, even where this process is killed.
func (l *launcher) once(ctx context.Context, folder string, fill func(partial string, lock *os.File) error) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	lock, err := l.lock(ctx, filepath.Join(filepath.Dir(folder), "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(folder); err == nil {
		return nil // while we waited
	}
	partial := folder + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("remove what a killed run left: %w", err)
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	err = fill(partial, lock)
	if err == nil {
		err = finish(ctx, partial, folder)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return nil
}

// finish renames a folder once all that is in it is on disk.
func finish(ctx context.Context, partial, folder string) error {
	// One call for the file system is much faster than one for each file.
	if _, err := output(exec.CommandContext(ctx, "sync", "-f", partial)); err != nil {
		return err
	}
	if err := os.Rename(partial, folder); err != nil {
		return fmt.Errorf("finish folder: %w", err)
	}
	return syncFolder(filepath.Dir(folder))
}

func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock waits for the exclusive lock on a file; closing the file frees it. The
// kernel frees it with its holders, so a killed launcher leaves nothing locked.
func (l *launcher) lock(ctx context.Context, name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), file.Close())
		}
		if !waiting {
			l.say("waiting for another tools/bazel, which is preparing %s", filepath.Dir(name))
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for lock %s: %w", name, ctx.Err()), file.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// writeFile replaces a file as a whole. Nobody else may read it.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return fmt.Errorf("finish file: %w", err)
	}
	return syncFolder(filepath.Dir(name))
}

// keepFile writes a file under a name that has the digest of its content, unless
// it is there, and gives its path.
func keepFile(dir, prefix string, data []byte) (string, error) {
	name := filepath.Join(dir, prefix+"-"+digest(string(data)))
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	return name, writeFile(name, data)
}

// digest names a prepared folder by all that went into it.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// gentle has a command end with all that it started: each is asked, so that it
// can clean up, before the command is killed. A group of its own keeps Ctrl-C at
// a terminal from asking some twice, and other signals from reaching only one.
func gentle(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// output is what a command prints; its error has what it said on stderr.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	case err != nil:
		err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(out), err
}
