package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// oomScore is the agent's oom_score_adj (proc(5)): the kernel kills it last for
// want of memory, but not never. An agent that leaks would take the guest along.
const oomScore = "-999"

// protection is what keeps the agent and the commands that it runs from each
// other's memory.
type protection struct {
	commands *os.File // cgroup for commands; nil without one
	scored   bool     // the agent has oomScore, which commands inherit
}

// protect puts this process into a cgroup of its own below root, which must be
// that of a cgroup2 file system or empty for none, and makes one for its
// commands. Neither is the application's, whose kills for want of memory init
// counts. proc is /proc. What does not work is a problem, with which the agent
// runs all the same.
func protect(root, proc string) (p protection, problems []error) {
	if root != "" {
		var err error
		if p.commands, err = separate(root); err != nil {
			problems = append(problems, fmt.Errorf("move to cgroup: %w", err))
		}
	}
	if err := writeExisting(path.Join(proc, "self/oom_score_adj"), oomScore); err != nil {
		return p, append(problems, fmt.Errorf("lower OOM score: %w", err))
	}
	p.scored = true
	return p, problems
}

func separate(root string) (commands *os.File, err error) {
	// The file is the kernel's; there is none without cgroup2.
	if err := writeExisting(path.Join(root, "cgroup.subtree_control"), "+memory"); err != nil {
		return nil, fmt.Errorf("count memory: %w", err)
	}
	limit, err := memoryLimit()
	if err != nil {
		return nil, fmt.Errorf("find memory: %w", err)
	}
	// The agent's group counts files that it has written to a tmpfs, for as long
	// as they are there. A new one begins without those of an agent before, if
	// that has left no process in its group.
	own := path.Join(root, "agent")
	switch err := unix.Rmdir(own); {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY):
	default:
		return nil, fmt.Errorf("remove %s: %w", own, err)
	}
	for _, dir := range []string{own, path.Join(root, "exec")} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	commands, err = os.Open(path.Join(root, "exec"))
	if err != nil {
		return nil, err
	}
	err = writeExisting(path.Join(own, "memory.max"), strconv.FormatUint(limit, 10))
	if err == nil {
		err = writeExisting(path.Join(own, "cgroup.procs"), "0") // this process
	}
	if err != nil {
		return nil, errors.Join(err, commands.Close())
	}
	return commands, nil
}

// memoryLimit is three quarters of the guest's memory, in bytes: a bound for an
// agent that leaks, and above the half that a tmpfs takes by default, which the
// agent may have to fill.
func memoryLimit() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return uint64(info.Totalram) * uint64(info.Unit) / 4 * 3, nil
}

// writeExisting writes a file of the kernel's.
func writeExisting(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
