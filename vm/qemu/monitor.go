package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// maxMonitorLine bounds a line of QEMU's monitor, in bytes.
const maxMonitorLine = 1 << 20

// monitor is a connection to QEMU's machine protocol (docs/interop/qmp-spec.rst
// of QEMU): a line of JSON a message. It is for one caller at a time.
type monitor struct {
	conn   net.Conn
	lines  *bufio.Scanner
	events []monitorEvent // that came while an answer was awaited
}

// monitorEvent is what QEMU tells unasked.
type monitorEvent struct {
	Name string
	Data json.RawMessage
}

// monitorMessage is any message of QEMU's: one of its fields is there.
type monitorMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// dialMonitor connects to a machine's monitor, once it listens.
func (m *Machine) dialMonitor(ctx context.Context) (*monitor, error) {
	socket := filepath.Join(m.dir, monitorName)
	var conn net.Conn
	err := awaitSocket(ctx, socket, m.qemu, func() (err error) {
		conn, err = net.Dial("unix", socket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to monitor: %w", err)
	}
	return newMonitor(ctx, conn)
}

// newMonitor ends the negotiation on a new connection.
func newMonitor(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, lines: bufio.NewScanner(conn)}
	m.lines.Buffer(nil, maxMonitorLine)
	if err := m.negotiate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to monitor: %w", err), conn.Close())
	}
	return m, nil
}

func (m *monitor) negotiate(ctx context.Context) error {
	defer m.within(ctx)()
	greeting, err := m.receive(ctx)
	if err != nil {
		return err
	}
	if greeting.Greeting == nil {
		return errors.New("got no greeting")
	}
	return m.execute(ctx, "qmp_capabilities", nil, nil)
}

// execute runs a command, with arguments that encode as a JSON object or nil,
// and waits for its answer, which it decodes into result unless that is nil.
func (m *monitor) execute(ctx context.Context, command string, arguments, result any) error {
	defer m.within(ctx)()
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return fmt.Errorf("monitor command %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("monitor command %s: %w", command, m.cause(ctx, err))
	}
	for {
		message, err := m.receive(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("monitor command %s: %w", command, err)
		case message.Error != nil:
			return fmt.Errorf("monitor command %s: %s: %s", command, message.Error.Class, message.Error.Desc)
		case message.Return != nil && result != nil:
			if err := json.Unmarshal(message.Return, result); err != nil {
				return fmt.Errorf("monitor command %s: %w", command, err)
			}
			return nil
		case message.Return != nil:
			return nil
		case message.Event != "":
			m.events = append(m.events, monitorEvent{message.Event, message.Data})
		}
	}
}

// await takes events, those first that came already, until one that accept does
// not pass over or finds to be an error.
func (m *monitor) await(ctx context.Context, accept func(monitorEvent) (bool, error)) error {
	defer m.within(ctx)()
	for {
		if len(m.events) == 0 {
			message, err := m.receive(ctx)
			if err != nil {
				return fmt.Errorf("wait for monitor's event: %w", err)
			}
			m.events = append(m.events, monitorEvent{message.Event, message.Data})
		}
		event := m.events[0]
		m.events = m.events[1:]
		if done, err := accept(event); done || err != nil {
			return err
		}
	}
}

func (m *monitor) receive(ctx context.Context) (monitorMessage, error) {
	if !m.lines.Scan() {
		err := m.lines.Err()
		if err == nil {
			err = errors.New("monitor has closed the connection")
		}
		return monitorMessage{}, m.cause(ctx, err)
	}
	var message monitorMessage
	if err := json.Unmarshal(m.lines.Bytes(), &message); err != nil {
		return monitorMessage{}, fmt.Errorf("read monitor's message: %w", err)
	}
	return message, nil
}

// within makes what waits on the connection end with the context. The returned
// function takes it back.
func (m *monitor) within(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// cause is why the connection failed.
func (m *monitor) cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (m *monitor) close() error {
	if err := m.conn.Close(); err != nil {
		return fmt.Errorf("close monitor: %w", err)
	}
	return nil
}
