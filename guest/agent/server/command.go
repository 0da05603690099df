package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/guest/internal/passwd"
)

// shell runs when a request names no command.
const shell = "/bin/sh"

// plan is a request's command that is not started yet.
type plan struct {
	cmd    *exec.Cmd
	launch launch
	size   *guestpb.WindowSize // of its terminal; nil for none
}

// plan makes a request into a command.
func (s *service) plan(start *guestpb.ExecStart) (*plan, error) {
	if err := validate(start); err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{}
	if start.GetTty() {
		attr.Setsid, attr.Setctty = true, true // of descriptor 0
	} else {
		attr.Setpgid = true // a group of its own can be killed as a whole
	}
	if group := s.options.CommandGroup; group != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
	}
	env := environment(start, s.env)
	if start.GetUser() != "" {
		user, err := passwd.Lookup(start.GetUser(), readTable)
		if _, unknown := errors.AsType[passwd.UnknownError](err); unknown {
			return nil, status.Error(codes.InvalidArgument, clip(err.Error()))
		}
		if err != nil {
			return nil, startError(start, err)
		}
		attr.Credential = &user.Credential
		if _, found := start.GetEnv()["HOME"]; !found {
			env["HOME"] = cmp.Or(user.Home, "/")
		}
	}

	argv := start.GetCommand()
	if len(argv) == 0 {
		argv = []string{shell}
	}
	search, found := env["PATH"]
	if !found {
		search = contract.DefaultPath
	}
	path, err := lookPath(argv[0], search)
	if err != nil {
		return nil, startError(start, err)
	}
	if err := checkDir(start.GetCwd()); err != nil {
		return nil, startError(start, err)
	}
	pairs := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, key+"="+env[key])
	}
	p := &plan{
		cmd:    &exec.Cmd{Path: path, Args: argv, Env: pairs, Dir: start.GetCwd(), SysProcAttr: attr},
		launch: launch{umask: start.Umask, score: s.score},
	}
	for _, l := range start.GetRlimits() {
		p.launch.limits = append(p.launch.limits, limit{int(l.GetResource()), unix.Rlimit{Cur: l.GetSoft(), Max: l.GetHard()}})
	}
	if start.GetTty() {
		p.size = startSize(start)
	}
	return p, nil
}

// environment is that of base, of a terminal, and of the request, the later one
// winning.
func environment(start *guestpb.ExecStart, base []string) map[string]string {
	env := make(map[string]string, len(base)+len(terminalEnv)+len(start.GetEnv()))
	for _, pair := range base {
		if key, value, found := strings.Cut(pair, "="); found {
			env[key] = value
		}
	}
	if start.GetTty() {
		maps.Copy(env, terminalEnv)
	}
	maps.Copy(env, start.GetEnv())
	return env
}

// readTable reads a table of users or groups, whatever stands in its place.
func readTable(name string) (text []byte, err error) {
	// A FIFO would wait for a writer.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	text, err = io.ReadAll(io.LimitReader(f, maxTable+1))
	if err == nil && len(text) > maxTable {
		err = fmt.Errorf("read %s: more than %d bytes", name, maxTable)
	}
	return text, err
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
func startError(start *guestpb.ExecStart, err error) error {
	what := "command"
	if start.GetTty() {
		what = "pty"
	}
	return status.Error(codes.Unknown, clip(fmt.Sprintf("start %s: %v", what, err)))
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
