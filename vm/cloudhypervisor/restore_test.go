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
	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
)

func TestSaveAndRestore(t *testing.T) {
	original, name := save(t)
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
	serial := processtest.NewOutput()
	spec := newSpec(t, serial)
	spec.CID, spec.Tap = 4, original.Tap
	m, err := Restore(processtest.Limited(t), spec, name)
	if err != nil {
		t.Fatal(err)
	}
	serial.Await(t)
	if paused, err := Paused(processtest.Limited(t), spec.Dir); err != nil || paused {
		t.Errorf("got paused %v, error %v, want it to run", paused, err)
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

func TestRestoreFails(t *testing.T) {
	original, name := save(t)
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
		{"program does not resume", string(text), "vm.resume: text", nil, "restore machine: call vm.resume: got status 500"},
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
			m, err := Restore(processtest.Limited(t), spec, name)
			if m != nil {
				t.Error("got a machine, want none")
			}
			processtest.RequireError(t, err, test.want)
			programs.RequireGone(t)
		})
	}
	t.Run("no snapshot", func(t *testing.T) {
		use(t, "")
		_, err := Restore(processtest.Limited(t), newSpec(t, io.Discard), filepath.Join(name, "none"))
		want := "restore machine: read snapshot " + name + "/none: open " + name + "/none: no such file or directory"
		processtest.RequireError(t, err, want)
	})
}
