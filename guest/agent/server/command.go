package server

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// shell runs when a request names no command.
const shell = "/bin/sh"

// command makes a request into a command that is not started yet. base is the
// environment below that of the request.
func command(start *guestpb.ExecStart, base []string) (*exec.Cmd, error) {
	env := make(map[string]string, len(base)+len(start.GetEnv()))
	for _, pair := range base {
		if key, value, found := strings.Cut(pair, "="); found {
			env[key] = value
		}
	}
	for key := range start.GetEnv() {
		// Such a key would set another variable, behind the check for duplicates.
		if key == "" || strings.Contains(key, "=") {
			return nil, status.Errorf(codes.InvalidArgument, "environment variable %q: not a name", clip(key))
		}
	}
	maps.Copy(env, start.GetEnv())
	search, found := env["PATH"]
	if !found {
		search = contract.DefaultPath
	}

	argv := start.GetCommand()
	if len(argv) == 0 {
		argv = []string{shell}
	}
	path, err := lookPath(argv[0], search)
	if err != nil {
		return nil, startError(err)
	}
	if err := checkDir(start.GetCwd()); err != nil {
		return nil, startError(err)
	}
	pairs := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, key+"="+env[key])
	}
	return &exec.Cmd{
		Path: path,
		Args: argv,
		Env:  pairs,
		Dir:  start.GetCwd(),
		// A group of its own can be killed as a whole.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}, nil
}

// lookPath finds a program as exec.LookPath does, but in the given search path
// instead of that of this process. Directories of the search path that are not
// absolute are left out, since a request can choose the working directory.
func lookPath(name, search string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if name != "" {
		for _, dir := range filepath.SplitList(search) {
			path := filepath.Join(dir, name)
			if filepath.IsAbs(dir) && isExecutable(path) {
				return path, nil
			}
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// checkDir exists since os/exec says of a missing working directory that the
// program is missing.
func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if err != nil {
		return &fs.PathError{Op: "chdir", Path: dir, Err: err}
	}
	return nil
}

// startError is the status of a command that could not be started. Hosts look
// for its text.
func startError(err error) error {
	return status.Error(codes.Unknown, clip(fmt.Sprintf("start command: %v", err)))
}

// clip bounds a text that goes into a status: it holds what the request said,
// and travels in a header.
func clip(text string) string {
	const limit = 8 << 10
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}
