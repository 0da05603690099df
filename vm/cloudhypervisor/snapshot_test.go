package cloudhypervisor

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
)

func TestPauseAndResume(t *testing.T) {
	use(t, "")
	spec := newSpec(t, io.Discard)
	m := mustStart(t, spec)
	other := NewClient(spec.Dir) // as another process would have it
	want := func(want State) {
		t.Helper()
		if state, err := m.State(limited(t)); err != nil || state != want {
			t.Errorf("got state %s, error %v, want %s", state, err, want)
		}
	}
	want(Running)
	requireError(t, m.Resume(limited(t)), "resume machine: call vm.resume: got status 500 Internal Server Error: Error from API: The VM is Running")
	for range 2 {
		if err := other.Pause(limited(t)); err != nil {
			t.Fatal(err)
		}
		want(Paused)
		requireError(t, other.Pause(limited(t)), "pause machine: call vm.pause: got status 500")
		if err := m.Resume(limited(t)); err != nil {
			t.Fatal(err)
		}
		want(Running)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	requireError(t, m.Pause(limited(t)), "pause machine: call vm.pause: ", "connection refused")
}

func TestStateFails(t *testing.T) {
	use(t, "vm.info: empty object")
	m := mustStart(t, newSpec(t, io.Discard))
	_, err := m.State(limited(t))
	requireError(t, err, "call vm.info: answer has no state")
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
}

// snapshot makes one of a machine with a network, and gives what it was made of.
func snapshot(t *testing.T) (spec vm.Spec, name string) {
	t.Helper()
	programs, requests := use(t, "")
	spec = newSpec(t, io.Discard)
	spec.Tap = &vm.Tap{Name: "lo", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	m := mustStart(t, spec)
	name = filepath.Join(t.TempDir(), "snapshot, 1%20")
	if err := m.Snapshot(limited(t), name); err != nil {
		t.Fatal(err)
	}
	programs.RequireGone(t)
	if err := m.Wait(limited(t)); err != nil {
		t.Errorf("wait for a machine that was snapshot: %v", err)
	}
	config, err := os.ReadFile(filepath.Join(name, configName))
	if err != nil {
		t.Fatal(err)
	}
	requireRequests(t, requests, "vmm.ping ", "vm.create "+string(config), "vm.boot ", "vm.info ", "vm.pause ",
		`vm.snapshot {"destination_url":"file://`+name+`.partial"}`, "vmm.shutdown ")
	return spec, name
}

func TestSnapshotAndRestore(t *testing.T) {
	original, name := snapshot(t)
	config := filepath.Join(name, configName)
	// The program adds what is not said, of which versions know more or less.
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	added := strings.Replace(string(text), `"memory":{`, `"iommu":false,"memory":{"hugepage_size":9007199254740993,`, 1)
	added = strings.Replace(added, `"tap":`, `"id":"_net0","mtu":1500,"tap":`, 1)
	if err := os.WriteFile(config, []byte(added), 0o600); err != nil {
		t.Fatal(err)
	}
	programs, requests := use(t, "")
	serial := newHeard()
	spec := newSpec(t, serial)
	spec.CID, spec.Tap = 4, original.Tap
	m, err := Restore(limited(t), spec, name)
	if err != nil {
		t.Fatal(err)
	}
	serial.await(t)
	if state, err := m.State(limited(t)); err != nil || state != Running {
		t.Errorf("got state %s, error %v, want %s", state, err, Running)
	}
	guest, err := net.Dial("unix", vm.Vsock(spec.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(guest.Close(), m.Kill()); err != nil {
		t.Error(err)
	}
	programs.RequireGone(t)
	source := filepath.Join(spec.Dir, restoreName)
	requireRequests(t, requests, "vmm.ping ", `vm.restore {"source_url":"file://`+source+`"}`, "vm.resume ", "vm.info ")
	got, err := os.ReadFile(filepath.Join(source, configName))
	if err != nil {
		t.Fatal(err)
	}
	// All but the folder is as it was, the context ID as well, and so are numbers.
	want := strings.NewReplacer(original.Dir+"/root.ext4", spec.Dir+"/root.ext4", original.Dir+"/overlay.raw", spec.Dir+"/overlay.raw",
		original.Dir+"/vsock.sock", spec.Dir+"/vsock.sock").Replace(added)
	if diff := cmp.Diff(decoded(t, want), decoded(t, string(got))); diff != "" {
		t.Errorf("restored machine (-want +got):\n%s", diff)
	}
}

func decoded(t *testing.T, text string) (value any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSnapshotFails(t *testing.T) {
	tests := []struct{ mode, want string }{
		{"vm.info: text", "snapshot machine: call vm.info: got status 500"},
		{"vm.pause: list of errors", "snapshot machine: pause machine: call vm.pause: got status 500"},
		{"vm.snapshot: text", "snapshot machine: call vm.snapshot: got status 500"},
		{"vm.snapshot: ends", "snapshot machine: call vm.snapshot: "},
		{"vmm.shutdown: text", "snapshot machine: call vmm.shutdown: got status 500"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			programs, _ := use(t, test.mode)
			m := mustStart(t, newSpec(t, io.Discard))
			dir := t.TempDir()
			requireError(t, m.Snapshot(limited(t), filepath.Join(dir, "snapshot")), test.want)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("got %v, error %v, want nothing left", entries, err)
			}
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
			programs.RequireGone(t)
		})
	}
	t.Run("name is taken", func(t *testing.T) {
		use(t, "")
		m := mustStart(t, newSpec(t, io.Discard))
		name := t.TempDir()
		requireError(t, m.Snapshot(limited(t), name), "snapshot machine: "+name+" is there already")
		if state, err := m.State(limited(t)); err != nil || state != Running {
			t.Errorf("got state %s, error %v, want %s", state, err, Running)
		}
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
	})
}

func TestRestoreFails(t *testing.T) {
	original, name := snapshot(t)
	config := filepath.Join(name, configName)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, config, mode string
		change             func(*vm.Spec)
		want               string
	}{
		{"other disks", string(text), "", func(s *vm.Spec) { s.Disks = s.Disks[:1] }, "adapt config.json: machine had 2 disks, want 1"},
		{"other network", string(text), "", func(s *vm.Spec) { s.Tap = nil }, "machine had 1 interfaces, want 0"},
		{"other memory", string(text), "", func(s *vm.Spec) { s.MemoryMiB = 65 },
			"machine had 67108864 bytes of memory and 2 processors, want 68157440 and 2"},
		{"other processors", string(text), "", func(s *vm.Spec) { s.CPUs = 1 }, "and 2 processors, want 67108864 and 1"},
		{"no JSON", "{", "", nil, "restore machine: read snapshot " + name + ": adapt config.json: unexpected end of JSON input"},
		{"nothing", "null", "", nil, "machine had 0 bytes"},
		{"no disk", strings.Replace(string(text), `"disks":[{`, `"disks":[null,{`, 1), "",
			func(s *vm.Spec) { s.Disks = append(s.Disks, s.Disks[0]) }, "machine has no disk"},
		{"no vsock", strings.Replace(string(text), `"vsock"`, `"other"`, 1), "", nil, "machine has no vsock"},
		{"description that the program refuses", strings.Replace(string(text), `"Tty"`, `"Teletype"`, 1), "", nil,
			"restore machine: call vm.restore: got status 500 Internal Server Error: Error from API: VmConfig.serial.mode is Teletype"},
		{"program does not resume", string(text), "vm.resume: text", nil, "restore machine: resume machine: call vm.resume: got status 500"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(config, []byte(test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			programs, _ := use(t, test.mode)
			spec := newSpec(t, io.Discard)
			spec.Tap = original.Tap
			if test.change != nil {
				test.change(&spec)
			}
			m, err := Restore(limited(t), spec, name)
			if m != nil {
				t.Error("got a machine, want none")
			}
			requireError(t, err, test.want)
			programs.RequireGone(t)
		})
	}
	t.Run("no snapshot", func(t *testing.T) {
		use(t, "")
		_, err := Restore(limited(t), newSpec(t, io.Discard), filepath.Join(name, "none"))
		requireError(t, err, "restore machine: read snapshot "+name+"/none: open "+name+"/none: no such file or directory")
	})
}
