package server

import (
	"fmt"
	"os"
	"sync"
)

// oomScore is this process's oom_score_adj (proc(5)), which commands are not to
// have. A process has its parent's from its start, so while this one makes
// commands it has that of a usual process: nothing has to stop the command and
// set its own, which took a seventh of the time that a short one takes.
type oomScore struct {
	mu     sync.Mutex
	file   *os.File // nil before the first command
	own    string
	making int // commands, at this time
}

// whileUsual calls a function that makes a command, unless it gives an error of
// before.
func (s *oomScore) whileUsual(do func()) error {
	if err := s.lift(); err != nil {
		return err
	}
	do()
	return s.restore()
}

func (s *oomScore) lift() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.making == 0 {
		if err := s.set("0"); err != nil {
			return err
		}
	}
	s.making++
	return nil
}

func (s *oomScore) restore() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making--
	if s.making > 0 {
		return nil
	}
	return s.set(s.own)
}

func (s *oomScore) set(score string) error {
	if s.file == nil {
		const name = "/proc/self/oom_score_adj"
		own, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read OOM score: %w", err)
		}
		if s.file, err = os.OpenFile(name, os.O_WRONLY, 0); err != nil {
			return fmt.Errorf("open OOM score: %w", err)
		}
		s.own = string(own)
	}
	if _, err := s.file.WriteAt([]byte(score), 0); err != nil {
		return fmt.Errorf("set OOM score: %w", err)
	}
	return nil
}
