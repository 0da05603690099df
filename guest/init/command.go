package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// startCommand finds the command on the PATH of its environment and starts it.
func (c *children) startCommand(p program, ended func(unix.WaitStatus)) (pid int, err error) {
	if p.path, err = lookPath(p.argv[0], p.env, p.dir); err != nil {
		return 0, err
	}
	pid, err = c.start(p, ended)
	switch {
	case errors.Is(err, unix.ENOENT): // the program itself is there
		return 0, fmt.Errorf("%w: the image does not have the interpreter that it names", err)
	case errors.Is(err, unix.ENOEXEC) && isText(from(p.dir, p.path)):
		// A script without a first line: POSIX has shells run it themselves.
		p.path, p.argv = "/bin/sh", append([]string{"sh", p.path}, p.argv[1:]...)
		return c.start(p, ended)
	}
	return pid, err
}

// lookPath finds an executable as a shell with env and dir does. A name with a
// slash is a path, any other is looked for in PATH's folders in order. What it
// returns is from dir.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(from(dir, name))
	}
	missing := fmt.Errorf("find %q on PATH: %w", name, exec.ErrNotFound)
	if name == "" {
		return "", missing
	}
	var folders string
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			folders = value
		}
	}
	for folder := range strings.SplitSeq(folders, ":") {
		candidate := path.Join(folder, name) // an empty folder is the working directory
		err := executable(from(dir, candidate))
		if err == nil {
			return candidate, nil
		}
		// One that may not be run makes it 126, unless a later folder has another.
		if errors.Is(err, fs.ErrPermission) {
			missing = err
		}
	}
	return "", missing
}

// from is name as a process in dir means it.
func from(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

func executable(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "execute", Path: name, Err: unix.EACCES}
	}
	return nil
}

// isText tells a script from a program for another machine as shells do: by
// bytes that no text has.
func isText(name string) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	begin := make([]byte, 128)
	n, err := io.ReadFull(file, begin)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false
	}
	return !bytes.Contains(begin[:n], []byte{0})
}

// startFailureCode is the exit code that a shell gives a command it could not
// start: 127 for one that is not there, 126 for one that cannot be run.
func startFailureCode(err error) int {
	for _, notThere := range []error{exec.ErrNotFound, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG} {
		if errors.Is(err, notThere) {
			return contract.ExitNotFound
		}
	}
	return contract.ExitNotExecutable
}
