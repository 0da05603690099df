package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestRun(t *testing.T) {
	ok := func(*machine) error { return nil }
	fail := func(*machine) error { return errors.New("no such disk") }
	panics := func(*machine) error { panic("index out of range") }
	ends := func(m *machine) error {
		m.outcome = contract.NewExitInfo(3)
		return nil
	}
	const failedLine = logStart + "[ERROR] [hypeman-init:agent] no such disk\n"
	tests := []struct {
		name      string
		steps     []step
		wantPhase string
		want      contract.ExitInfo
		wantLog   string // behind a stack
	}{
		{"all succeed", []step{{"mount", ok, true}, {"entrypoint", ends, true}}, "entrypoint", contract.ExitInfo{Code: 3, Message: "exit code 3"}, ""},
		{"one that is needed fails", []step{{"mount", ok, true}, {"overlay", fail, true}, {"agent", fail, false}, {"entrypoint", ends, true}}, "overlay", contract.ExitInfo{Code: 78, Message: "boot failed: overlay: no such disk"}, ""},
		{"the last one fails", []step{{"entrypoint", fail, true}}, "entrypoint", contract.ExitInfo{Code: 78, Message: "boot failed: entrypoint: no such disk"}, ""},
		{"another fails", []step{{"agent", fail, false}, {"entrypoint", ends, true}}, "entrypoint", contract.ExitInfo{Code: 3, Message: "exit code 3"}, failedLine},
		{"one that is needed panics", []step{{"config", panics, true}, {"agent", fail, false}, {"entrypoint", ends, true}}, "config", contract.ExitInfo{Code: 78, Message: "boot failed: config: init panicked: index out of range"}, ""},
		{"another panics", []step{{"bind", panics, false}, {"agent", fail, false}, {"entrypoint", ends, true}}, "entrypoint", contract.ExitInfo{Code: 3, Message: "exit code 3"}, logStart + "[ERROR] [hypeman-init:bind] init panicked: index out of range\n" + failedLine},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			m := &machine{log: &logger{out: &log, now: func() time.Time { return testTime }}}
			phase, got := m.run(test.steps)
			if phase != test.wantPhase {
				t.Errorf("phase = %q, want %q", phase, test.wantPhase)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			text := log.String()
			if start := strings.Index(text, logStart); strings.HasPrefix(text, "goroutine ") {
				text = text[max(start, 0):]
				if start < 0 {
					text = ""
				}
			}
			if diff := cmp.Diff(test.wantLog, text); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRunOrder checks that steps run in their order and that none runs behind
// one that failed.
func TestRunOrder(t *testing.T) {
	var got []string
	note := func(name string, err error) func(*machine) error {
		return func(*machine) error {
			got = append(got, name)
			return err
		}
	}
	m := &machine{log: newLogger(&bytes.Buffer{})}
	bad := errors.New("bad")
	m.run([]step{{"", note("a", nil), true}, {"", note("b", bad), false}, {"", note("c", nil), false}, {"", note("d", bad), true}, {"", note("e", nil), false}})
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestRefuseUnserved(t *testing.T) {
	tests := []struct {
		config contract.Config
		want   string // "" is no error
	}{
		{contract.Config{InitMode: contract.ModeExec, SkipKernelHeaders: true}, ""},
		{contract.Config{InitMode: contract.ModeSystemd}, `init_mode "systemd" is not served`},
		{contract.Config{NetworkEnabled: true}, "network_enabled is not served"},
		{contract.Config{VolumeMounts: []contract.VolumeMount{{}}}, "volume_mounts is not served"},
	}
	for _, test := range tests {
		m := &machine{config: &test.config}
		if err := m.refuseUnserved(); (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%+v: got error %v, want %q", test.config, err, test.want)
		}
	}
}
