package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	// An agent that ends is started again after this time, which doubles up to
	// maxBackoff each time it ends before it has run for steadyTime.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	steadyTime = time.Minute
)

// agent is the supervision of the agent's process.
type agent struct {
	path    string
	pid     int // 0 when it does not run
	backoff time.Duration
	ready   bool // it listens
	stopped bool // it is not to be started again
}

// writeAgentToken leaves the token that callers must show where the agent looks
// for it. An agent without it would serve them all, so there is none then.
func (m *machine) writeAgentToken() error {
	if m.config.SkipGuestAgent || m.config.AgentToken == "" {
		return nil
	}
	if err := os.WriteFile(contract.AgentTokenFile, []byte(m.config.AgentToken), 0o600); err != nil {
		return fmt.Errorf("write agent token: %w", err)
	}
	return nil
}

// startAgent has the agent started by the goroutine that serves the children.
// It comes behind the application, which needs nothing of it and would share its
// processor with it.
func (m *machine) startAgent() error {
	if m.config.SkipGuestAgent || m.handsOver() {
		return nil
	}
	launched := make(chan error, 1)
	m.children.events <- func() {
		if m.agent.stopped {
			launched <- nil
			return
		}
		m.agent.backoff = minBackoff
		launched <- m.launchAgent()
	}
	return <-launched
}

func (m *machine) launchAgent() (err error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make ready pipe: %w", err)
	}
	const readyFD = 3 // the first of the extra descriptors
	started := m.uptime()
	pid, err := m.children.start(program{
		path: m.agent.path, argv: []string{m.agent.path}, dir: "/", extra: []*os.File{writer},
		env: slices.Concat(m.config.Environ(""), []string{contract.AgentReadyFDEnv + "=" + strconv.Itoa(readyFD)}),
	}, func(status unix.WaitStatus) { m.agentEnded(status, m.uptime()-started) })
	if err := errors.Join(err, writer.Close()); err != nil {
		return errors.Join(err, reader.Close())
	}
	m.agent.pid, m.agent.ready = pid, false
	go func() {
		err := awaitReady(reader, contract.AgentReadyTimeout)
		m.children.events <- func() { m.agentReady(pid, err) }
	}()
	return nil
}

// awaitReady returns once a byte has come.
func awaitReady(pipe *os.File, limit time.Duration) (err error) {
	defer func() { err = errors.Join(err, pipe.Close()) }()
	if err := pipe.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("bound wait for agent: %w", err)
	}
	if _, err := pipe.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for agent: %w", err)
	}
	return nil
}

// agentReady takes the news of an agent that listens, or does not. One that
// hangs is ended, so that another is started.
func (m *machine) agentReady(pid int, err error) {
	switch {
	case pid != m.agent.pid: // it has ended since
	case err == nil:
		m.agent.ready = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		m.log.failed("agent", fmt.Errorf("agent does not listen after %v, killed", contract.AgentReadyTimeout))
		if err := m.children.signal(pid, unix.SIGKILL, false); err != nil {
			m.log.failed("agent", err)
		}
	}
}

func (m *machine) agentEnded(status unix.WaitStatus, lived time.Duration) {
	m.agent.pid = 0
	if m.agent.stopped {
		return
	}
	if lived >= steadyTime {
		m.agent.backoff = minBackoff
	}
	m.log.failed("agent", fmt.Errorf("agent ended with status %d, starts again in %v", shellCode(status), m.agent.backoff))
	m.restartAgent()
}

func (m *machine) restartAgent() {
	delay := m.agent.backoff
	m.agent.backoff = min(2*delay, maxBackoff)
	m.children.after(delay, func() {
		if m.agent.stopped {
			return
		}
		if err := m.launchAgent(); err != nil {
			m.log.failed("agent", err)
			m.restartAgent()
		}
	})
}
