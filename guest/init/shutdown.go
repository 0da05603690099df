package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	// maxNote bounds the agent's note, in bytes.
	maxNote = 64 << 10
	// maxGrace bounds the time that a note may give, so that a machine that is
	// to stop does.
	maxGrace = time.Hour
)

// heedShutdown does what the agent has noted beside the signal that it sends, if
// it has: after the grace time the application is killed, as is then, after that
// time again, what it left behind.
func (m *machine) heedShutdown(app int) error {
	note, err := takeNote(m.shutdownFile)
	if err != nil || note == nil {
		return err
	}
	if note.Reason != "" {
		m.log.info("entrypoint", "shutdown: %.512q", note.Reason)
	}
	if note.GraceSeconds == 0 {
		return nil
	}
	m.grace = min(time.Duration(note.GraceSeconds)*time.Second, maxGrace)
	m.children.after(m.grace, func() {
		if m.children.ended[app] == nil {
			return
		}
		m.log.info("entrypoint", "app runs %v after its shutdown, killed", m.grace)
		if err := m.children.signal(app, unix.SIGKILL, true); err != nil {
			m.log.failed("entrypoint", err)
		}
	})
	return nil
}

// takeNote reads and removes the note. Without one it returns nil.
func takeNote(name string) (note *contract.ShutdownNote, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open shutdown note: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	content, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return nil, fmt.Errorf("read shutdown note: %w", err)
	}
	if err := json.Unmarshal(content, &note); err != nil {
		return nil, fmt.Errorf("parse shutdown note: %w", err)
	}
	return note, nil
}
