package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// killSession kills all processes of a session but its leader: those of a shell
// with job control are in groups of their own.
func killSession(leader int) error {
	killed := map[int]bool{leader: true}
	for again := true; again; { // one can have made another meanwhile
		again = false
		pids, err := processIDs()
		if err != nil {
			return fmt.Errorf("list processes: %w", err)
		}
		for _, pid := range pids {
			if killed[pid] {
				continue
			}
			found, err := killMember(pid, leader)
			if err != nil {
				return fmt.Errorf("kill process of session: %w", err)
			}
			if found {
				killed[pid], again = true, true
			}
		}
	}
	return nil
}

// killMember kills a process if it is of the session. The descriptor is opened
// first, so that nothing else is hit when the number gets another owner.
func killMember(pid, session int) (found bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if sid, err := unix.Getsid(pid); err != nil || sid != session {
		return false, ignoreGone(err)
	}
	return true, ignoreGone(unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
}

// ignoreGone takes it for no error that a process does not exist.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// processIDs are the processes that /proc shows.
func processIDs() (pids []int, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proc.Close()) }()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
