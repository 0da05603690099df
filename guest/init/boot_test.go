package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestBoot(t *testing.T) {
	ok := func(*machine) error { return nil }
	fail := func(*machine) error { return errors.New("no such disk") }
	panics := func(*machine) error { panic("index out of range") }
	const failedLine = logStart + "[ERROR] [hypeman-init:agent] no such disk\n"
	failed := func(phase, text string) ending {
		return ending{phase: phase, text: "boot failed: " + text, outcome: contract.ExitInfo{Code: 78, Message: "boot failed: " + phase + ": " + text}}
	}
	tests := []struct {
		name    string
		steps   []step
		want    ending // the zero value is none
		wantLog string // behind a stack
		record  string
	}{
		{"all succeed", []step{{"a", "mount", ok, stop}, {"b", "agent", ok, goOn}}, ending{}, "", "a=5 b=5"},
		{"one that stops fails", []step{{"a", "mount", ok, stop}, {"b", "overlay", fail, stop}, {"c", "agent", fail, goOn}}, failed("overlay", "no such disk"), "", "a=5 b=5!"},
		{"the last one fails", []step{{"a", "bind", fail, stop}}, failed("bind", "no such disk"), "", "a=5!"},
		{"another fails", []step{{"a", "agent", fail, goOn}, {"b", "bind", ok, stop}}, ending{}, failedLine, "a=5! b=5"},
		{"one that stops panics", []step{{"a", "config", panics, stop}, {"b", "agent", fail, goOn}}, failed("config", "init panicked: index out of range"), "", "a=5!"},
		{"another panics", []step{{"a", "bind", panics, goOn}, {"b", "agent", fail, goOn}}, ending{}, logStart + "[ERROR] [hypeman-init:bind] init panicked: index out of range\n" + failedLine, "a=5! b=5!"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			m := machineWithLog(&log)
			var now time.Duration
			m.uptime = func() time.Duration { now += 5 * time.Microsecond; return now }
			got, booted := m.boot(test.steps)
			if booted != (test.want == ending{}) {
				t.Errorf("booted = %v", booted)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(ending{})); diff != "" {
				t.Errorf("ending (-want +got):\n%s", diff)
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
			if diff := cmp.Diff("KINDLING-BOOT ready=0 "+test.record, m.record.String()); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFinishBoot checks that the background's steps all run, and none once the
// machine ends.
func TestFinishBoot(t *testing.T) {
	var log bytes.Buffer
	m := machineWithLog(&log)
	fail := func(*machine) error { return errors.New("no such clock") }
	end := func(m *machine) error { m.ending.Store(true); return nil }
	m.finishBoot([]step{{"a", "modules", fail, goOn}, {"b", "bind", end, goOn}, {"c", "boot", fail, goOn}})
	if diff := cmp.Diff(logStart+"[ERROR] [hypeman-init:modules] no such clock\n", log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if got, want := m.record.String(), "KINDLING-BOOT ready=0 a=0! b=0"; got != want {
		t.Errorf("record = %q, want %q", got, want)
	}
}

func TestGiveWay(t *testing.T) {
	var priority int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		giveWay(func() { priority, err = unix.Getpriority(unix.PRIO_PROCESS, 0) })
	}()
	<-done
	// The kernel gives 20 less the niceness.
	if err != nil || priority > 10 {
		t.Errorf("priority = %d, %v, want 10 or less", priority, err)
	}
}

// TestStepNames checks that a name in the record of a boot is of one step.
func TestStepNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range slices.Concat(steps, background) {
		if seen[s.name] || s.name == "" || strings.ContainsAny(s.name, " =!") || s.phase == "" {
			t.Errorf("step %q of phase %q: want a name and phase of its own", s.name, s.phase)
		}
		seen[s.name] = true
	}
}

func TestRecord(t *testing.T) {
	var r bootRecord
	r.add("kernelfs", 1500*time.Millisecond, 1501234567*time.Nanosecond, nil)
	r.add("agent", 1502*time.Millisecond, 1502*time.Millisecond, errors.New("no \"agent\""))
	r.ReadyUS, r.BeforeFreeKiB, r.AfterFreeKiB = 1600000, 100, 120
	dir := t.TempDir()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "boot.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"steps":[{"name":"kernelfs","start_us":1500000,"duration_us":1234},` +
		`{"name":"agent","start_us":1502000,"duration_us":0,"error":"no \"agent\""}],` +
		`"ready_us":1600000,"mem_available_before_free_kib":100,"mem_available_after_free_kib":120}` + "\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("boot.json (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
		t.Errorf("folder has %v, %v, want one file", entries, err)
	}
	if err := r.write(filepath.Join(dir, "missing")); err == nil || !strings.HasPrefix(err.Error(), "write record of the boot: ") {
		t.Errorf("without a folder: got error %v", err)
	}
	if first, second := uptime(), uptime(); first <= 0 || second < first {
		t.Errorf("uptime = %v, then %v", first, second)
	}
}

func TestRefuseUnserved(t *testing.T) {
	tests := []struct {
		config contract.Config
		want   string // "" is no error
	}{
		{contract.Config{InitMode: contract.ModeExec, SkipKernelHeaders: true}, ""},
		{contract.Config{EgressProxy: &contract.EgressProxy{Enabled: true}}, "egress_proxy is not served"},
		{contract.Config{EgressProxy: &contract.EgressProxy{}}, ""},
	}
	for _, test := range tests {
		m := &machine{config: &test.config}
		if err := m.refuseUnserved(); (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%+v: got error %v, want %q", test.config, err, test.want)
		}
	}
}
