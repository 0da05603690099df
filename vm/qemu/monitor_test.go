package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	greeting   = `{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": ""}, "capabilities": ["oob"]}}`
	negotiated = `{"return": {}}`
)

// script answers on a connection: with the first lines before anything is
// asked, and then with the next ones after each line that comes. Behind the last
// answer it closes the connection. It gives the lines that came.
func script(t *testing.T, answers ...[]string) (client net.Conn, asked func() []string) {
	t.Helper()
	client, server := net.Pipe()
	var got []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer server.Close()
		lines := bufio.NewScanner(server)
		for i, lineup := range answers {
			if i > 0 {
				if !lines.Scan() {
					return
				}
				got = append(got, lines.Text())
			}
			for _, line := range lineup {
				if _, err := server.Write([]byte(line + "\r\n")); err != nil {
					return
				}
			}
		}
	}()
	return client, func() []string {
		client.Close()
		<-ended
		return got
	}
}

func TestMonitor(t *testing.T) {
	conn, asked := script(t,
		[]string{greeting},
		[]string{negotiated},
		[]string{`{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}`, `{"event": "RESUME", "data": {"a": 1}}`, `{"return": {"b": 2}}`},
		[]string{`{"error": {"class": "GenericError", "desc": "Bus 'x' not found"}}`},
		[]string{`{"return": {"status": "running"}}`},
		[]string{`{"return": []}`, `{"event": "SHUTDOWN", "data": {"guest": true}}`},
	)
	m, err := newMonitor(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.execute(t.Context(), "stop", nil, nil); err != nil {
		t.Error(err)
	}
	err = m.execute(t.Context(), "device_add", map[string]string{"driver": "d", "bus": "x"}, nil)
	if want := "monitor command device_add: GenericError: Bus 'x' not found"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	var status struct{ Status string }
	if err := m.execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("got status %q, %v, want running", status.Status, err)
	}
	if err := m.execute(t.Context(), "query-status", nil, &status); err == nil {
		t.Error("got no error of an answer of another form")
	}
	var events []string
	err = m.await(t.Context(), func(event monitorEvent) (bool, error) {
		events = append(events, event.Name+string(event.Data))
		return event.Name == "SHUTDOWN", nil
	})
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"STOP", `RESUME{"a": 1}`, `SHUTDOWN{"guest": true}`}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	err = m.await(t.Context(), func(monitorEvent) (bool, error) { return true, nil })
	if want := "wait for monitor's event: monitor has closed the connection"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	want := []string{
		`{"execute":"qmp_capabilities"}`, `{"execute":"stop"}`,
		`{"execute":"device_add","arguments":{"bus":"x","driver":"d"}}`, `{"execute":"query-status"}`, `{"execute":"query-status"}`,
	}
	if diff := cmp.Diff(want, asked()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestMonitorRefuses(t *testing.T) {
	tests := []struct {
		name    string
		answers [][]string
		want    string
	}{
		{"closed", [][]string{nil}, "connect to monitor: monitor has closed the connection"},
		{"no greeting", [][]string{{`{"return": {}}`}}, "connect to monitor: got no greeting"},
		{"no JSON", [][]string{{"QEMU 11.1.2 monitor - type 'help'"}}, "connect to monitor: read monitor's message: invalid character 'Q' looking for beginning of value"},
		{"long line", [][]string{{strings.Repeat(" ", maxMonitorLine+1)}}, "connect to monitor: bufio.Scanner: token too long"},
		{"no capabilities", [][]string{{greeting}, {`{"error": {"class": "CommandNotFound", "desc": "no"}}`}}, "connect to monitor: monitor command qmp_capabilities: CommandNotFound: no"},
		{"closed behind the greeting", [][]string{{greeting}, nil}, "connect to monitor: monitor command qmp_capabilities: monitor has closed the connection"},
	}
	for _, test := range tests {
		conn, _ := script(t, test.answers...)
		if m, err := newMonitor(t.Context(), conn); m != nil || err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
		if _, err := conn.Write([]byte{'x'}); err == nil {
			t.Errorf("%s: the connection is left open", test.name)
		}
	}
}

// TestMonitorContext has monitors that never answer.
func TestMonitorContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	conn, asked := script(t, []string{greeting}, []string{negotiated}, nil, nil, nil)
	m, err := newMonitor(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- m.execute(ctx, "stop", nil, nil) }()
	cancel(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("got error %v, want %v", err, gone)
	}
	if err := m.await(ctx, nil); !errors.Is(err, gone) {
		t.Errorf("got error %v, want %v", err, gone)
	}
	asked()
}

func TestEvents(t *testing.T) {
	tests := []struct {
		name   string
		accept func(monitorEvent) (bool, error)
		event  monitorEvent
		done   bool
		want   string
	}{
		{"other", isMigrated, monitorEvent{"STOP", nil}, false, ""},
		{"under way", isMigrated, monitorEvent{"MIGRATION", json.RawMessage(`{"status": "active"}`)}, false, ""},
		{"done", isMigrated, monitorEvent{"MIGRATION", json.RawMessage(`{"status": "completed"}`)}, true, ""},
		{"failed", isMigrated, monitorEvent{"MIGRATION", json.RawMessage(`{"status": "failed"}`)}, false, "QEMU's migration failed"},
		{"malformed", isMigrated, monitorEvent{"MIGRATION", nil}, false, "read monitor's event: unexpected end of JSON input"},
		{"other", isUnplugged, monitorEvent{"MIGRATION", nil}, false, ""},
		{"device", isUnplugged, monitorEvent{"DEVICE_DELETED", json.RawMessage(`{"device": "vsock0", "path": "/machine/peripheral/vsock0"}`)}, true, ""},
		{"its part", isUnplugged, monitorEvent{"DEVICE_DELETED", json.RawMessage(`{"path": "/machine/peripheral/vsock0/virtio-backend"}`)}, false, ""},
		{"refused", isUnplugged, monitorEvent{"DEVICE_UNPLUG_GUEST_ERROR", json.RawMessage(`{"device": "vsock0"}`)}, false, "unplug vsock: the guest refuses"},
		{"malformed", isUnplugged, monitorEvent{"DEVICE_DELETED", json.RawMessage(`[]`)}, false, "read monitor's event: json: cannot unmarshal array into Go value of type struct { Device string }"},
	}
	for _, test := range tests {
		done, err := test.accept(test.event)
		if done != test.done || (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got %v, %v, want %v, %q", test.name, done, err, test.done, test.want)
		}
	}
}
