package qemutest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// MachineState is what a fake machine saves as its memory, and takes back.
const MachineState = "state"

// machine is the machine behind a monitor.
type machine struct {
	running, plugged bool
	ending           bool   // a migration
	saved            bool   // since it ran last
	migration        string // how the last one ended
}

// ServeMonitor is QEMU's monitor, for a program standing in for it, of a machine
// that can be paused, saved and restored. To the command wrong it gives an answer
// of the test's, or, without one, crashes. It returns with an error only.
func ServeMonitor(wrong, wrongAnswer string) error {
	socket := strings.TrimSuffix(Argument("-qmp", "unix:"), ",server=on,wait=off")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	restored := slices.Contains(os.Args, "-incoming")
	m := &machine{running: !restored, plugged: !restored}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := m.serve(conn, wrong, wrongAnswer); err != nil {
			return err
		}
	}
}

// serve serves one connection to its end.
func (m *machine) serve(conn net.Conn, wrong, wrongAnswer string) error {
	if _, err := fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": ["oob"]}}`); err != nil {
		return nil // whoever connected has gone
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var request struct {
			Execute   string
			Arguments map[string]any
		}
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
			return err
		}
		answer, err := m.answer(request.Execute, request.Arguments)
		if err != nil {
			return err
		}
		if request.Execute == wrong {
			if wrongAnswer == "" {
				return errors.New("has crashed")
			}
			answer = wrongAnswer
			m.migration = "failed"
		}
		if _, err := fmt.Fprintln(conn, answer); err != nil {
			return nil
		}
	}
	return nil
}

func (m *machine) answer(command string, arguments map[string]any) (string, error) {
	const done = `{"return": {}}`
	const moved = done + "\n" + `{"event": "MIGRATION", "data": {"status": "active"}}` + "\n" + `{"event": "MIGRATION", "data": {"status": "completed"}}`
	name, _ := arguments["uri"].(string)
	name = strings.TrimPrefix(name, "file:")
	switch command {
	case "device_del":
		m.plugged = false
		return done + "\n" + `{"event": "DEVICE_DELETED", "data": {"device": "vsock0"}}`, nil
	case "device_add":
		m.plugged = true
	case "stop", "cont":
		m.running = command == "cont"
		m.saved = m.saved && !m.running
	case "query-status":
		status := "running"
		switch {
		case m.ending:
			m.ending, status = false, "finish-migrate"
		case m.saved:
			status = "postmigrate"
		case !m.running:
			status = "paused"
		}
		return fmt.Sprintf(`{"return": {"status": %q, "running": %t}}`, status, m.running), nil
	case "qom-list":
		if m.plugged {
			return `{"return": [{"name": "type", "type": "string"}, {"name": "vsock0", "type": "child<vhost-user-vsock-pci>"}]}`, nil
		}
		return `{"return": [{"name": "type", "type": "string"}]}`, nil
	case "query-version":
		return `{"return": {"qemu": {"major": 11, "minor": 1, "micro": 2}, "package": "Debian 1:11.1.2"}}`, nil
	case "query-migrate":
		if m.migration == "failed" {
			return `{"return": {"status": "failed", "error-desc": "No space left on device"}}`, nil
		}
	case "migrate":
		if m.saved {
			return `{"error": {"class": "GenericError", "desc": "Can't migrate the vm that was paused due to previous migration"}}`, nil
		}
		m.saved = true
		m.ending, m.migration = true, "completed"
		return moved, os.WriteFile(name, []byte(MachineState), 0o600)
	case "migrate-incoming":
		if state, err := os.ReadFile(name); err != nil || string(state) != MachineState {
			return "", fmt.Errorf("got state %q, %v", state, err)
		}
		return moved, nil
	}
	return done, nil
}
