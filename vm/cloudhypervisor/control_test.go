package cloudhypervisor

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
)

func TestPauseAndResume(t *testing.T) {
	use(t, "")
	spec := newSpec(t, io.Discard)
	m := mustStart(t, spec)
	want := func(want bool) {
		t.Helper()
		if got, err := Paused(processtest.Limited(t), spec.Dir); err != nil || got != want {
			t.Errorf("got paused %v, error %v, want %v", got, err, want)
		}
	}
	want(false)
	for range 2 {
		for range 2 {
			if err := Pause(processtest.Limited(t), spec.Dir); err != nil {
				t.Fatal(err)
			}
			want(true)
		}
		for range 2 {
			if err := Resume(processtest.Limited(t), spec.Dir); err != nil {
				t.Fatal(err)
			}
			want(false)
		}
	}
	if version, err := Version(processtest.Limited(t), spec.Dir); err != nil || version != "v48.0" {
		t.Errorf("got version %q, error %v, want v48.0", version, err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := Paused(processtest.Limited(t), spec.Dir)
	processtest.RequireError(t, err, "look at machine: call vm.info: ", "connection refused")
	_, err = Version(processtest.Limited(t), t.TempDir())
	processtest.RequireError(t, err, "find version of cloud-hypervisor: call vmm.ping: ", "no such file or directory")
}

func TestControlFails(t *testing.T) {
	tests := []struct {
		mode string
		do   func(dir string) error
		want string
	}{
		{"vm.info: empty object", func(dir string) error { return Pause(processtest.Limited(t), dir) },
			"pause machine: call vm.info: answer has no state"},
		{"vm.pause: list of errors", func(dir string) error { return Pause(processtest.Limited(t), dir) },
			"pause machine: call vm.pause: got status 500 Internal Server Error: Error from API: The VM could not boot: Cannot load the kernel"},
		{"vm.resume: text", func(dir string) error {
			return errors.Join(Pause(processtest.Limited(t), dir), Resume(processtest.Limited(t), dir))
		}, "resume machine: call vm.resume: got status 500"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			use(t, test.mode)
			spec := newSpec(t, io.Discard)
			m := mustStart(t, spec)
			processtest.RequireError(t, test.do(spec.Dir), test.want)
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

// save saves a machine with a network, and gives its spec and the folder.
func save(t *testing.T) (spec vm.Spec, name string) {
	t.Helper()
	programs, requests := use(t, "")
	spec = newSpec(t, io.Discard)
	spec.Tap = &vm.Tap{Name: "lo", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	m := mustStart(t, spec)
	name = filepath.Join(t.TempDir(), "memory, 1%20")
	err := Save(processtest.Limited(t), spec.Dir, name, func() error {
		if paused, err := Paused(processtest.Limited(t), spec.Dir); err != nil || !paused {
			t.Errorf("disks are copied: got paused %v, error %v, want true", paused, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if paused, err := Paused(processtest.Limited(t), spec.Dir); err != nil || paused {
		t.Errorf("got paused %v, error %v, want it to run on", paused, err)
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	programs.RequireGone(t)
	config, err := os.ReadFile(filepath.Join(name, configName))
	if err != nil {
		t.Fatal(err)
	}
	requireRequests(t, requests, "vmm.ping ", "vm.create "+string(config), "vm.boot ", "vm.info ", "vm.info ", "vm.pause ",
		`vm.snapshot {"destination_url":"file://`+name+`"}`, "vm.info ", "vm.info ", "vm.resume ", "vm.info ")
	return spec, name
}

func TestSavePaused(t *testing.T) {
	use(t, "")
	spec := newSpec(t, io.Discard)
	m := mustStart(t, spec)
	if err := Pause(processtest.Limited(t), spec.Dir); err != nil {
		t.Fatal(err)
	}
	err := Save(processtest.Limited(t), spec.Dir, filepath.Join(t.TempDir(), "memory"), func() error { return nil })
	if err != nil {
		t.Error(err)
	}
	if paused, err := Paused(processtest.Limited(t), spec.Dir); err != nil || !paused {
		t.Errorf("got paused %v, error %v, want it as it was", paused, err)
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
}

func TestSaveFails(t *testing.T) {
	tests := []struct {
		mode, want string
		disks      error
		runs       bool // the machine, afterwards
	}{
		{"vm.pause: text", "save machine: call vm.pause: got status 500", nil, true},
		{"vm.snapshot: text", "save machine: call vm.snapshot: got status 500", nil, true},
		{"vm.snapshot: ends", "save machine: call vm.snapshot: ", nil, false},
		{"vm.resume: text", "save machine: call vm.resume: got status 500", nil, false},
		{"", "save machine: disk is full", errors.New("disk is full"), true},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			programs, _ := use(t, test.mode)
			spec := newSpec(t, io.Discard)
			m := mustStart(t, spec)
			dir := t.TempDir()
			err := Save(processtest.Limited(t), spec.Dir, filepath.Join(dir, "memory"), func() error { return test.disks })
			processtest.RequireError(t, err, test.want)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("got %v, error %v, want nothing left", entries, err)
			}
			if test.runs {
				if paused, err := Paused(processtest.Limited(t), spec.Dir); err != nil || paused {
					t.Errorf("got paused %v, error %v, want it to run on", paused, err)
				}
			}
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
			programs.RequireGone(t)
		})
	}
	t.Run("name is taken", func(t *testing.T) {
		use(t, "")
		spec := newSpec(t, io.Discard)
		m := mustStart(t, spec)
		name := t.TempDir()
		err := Save(processtest.Limited(t), spec.Dir, name, nil)
		processtest.RequireError(t, err, "save machine: mkdir "+name+": file exists")
		if _, err := os.Stat(name); err != nil {
			t.Errorf("what was there is gone: %v", err)
		}
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
	})
}
