package cloudhypervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

var _ vm.Machine = (*Machine)(nil)

// newSpec is a machine in a folder of its own.
func newSpec(t *testing.T, serial io.Writer) vm.Spec {
	t.Helper()
	dir := qemutest.ShortDir(t, "ch, ")
	for _, name := range []string{"kernel", "initrd", "root.ext4", "overlay.raw"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return vm.Spec{
		Dir: dir, Arch: hostArch, Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"), Cmdline: "console=ttyS0",
		MemoryMiB: 64, CPUs: 2, CID: 3, Serial: serial,
		Disks: []vm.Disk{{Path: filepath.Join(dir, "root.ext4"), ReadOnly: true}, {Path: filepath.Join(dir, "overlay.raw")}},
	}
}

// use puts the fake program on the PATH, and gives the file that gets its
// requests.
func use(t *testing.T, mode string) (programs *qemutest.Programs, requests string) {
	t.Helper()
	programs = qemutest.Use(t, Program)
	requests = filepath.Join(t.TempDir(), "requests")
	t.Setenv(requestsEnv, requests)
	t.Setenv(modeEnv, mode)
	return programs, requests
}

// mustStart starts a machine whose end the test must bring.
func mustStart(t *testing.T, spec vm.Spec) *Machine {
	t.Helper()
	m, err := Start(processtest.Limited(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConfig(t *testing.T) {
	const plain = `{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":536870912},` +
		`"payload":{"kernel":"/a/vmlinux","initramfs":"/a/initrd","cmdline":"console=ttyS0 quiet"},` +
		`"serial":{"mode":"Tty"},"console":{"mode":"Off"},"vsock":{"cid":3,"socket":"/m/vsock.sock"}}`
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(plain) }
	tests := []struct {
		name   string
		change func(*vm.Spec)
		want   string
	}{
		{"no disks", func(*vm.Spec) {}, plain},
		{"size", func(s *vm.Spec) { s.MemoryMiB, s.CPUs, s.CID = 3<<20, 4, 1<<32-1 },
			replaced(`vcpus":1`, `vcpus":4`, "536870912", "3298534883328", `"cid":3`, `"cid":4294967295`)},
		{"disks in order", func(s *vm.Spec) {
			s.Disks = []vm.Disk{{Path: "/m/root.ext4", ReadOnly: true}, {Path: "/m/overlay.raw"}}
		}, replaced(`"serial":`, `"disks":[{"path":"/m/root.ext4","readonly":true,"image_type":"Raw"},`+
			`{"path":"/m/overlay.raw","readonly":false,"image_type":"Raw"}],"serial":`)},
		{"tap device", func(s *vm.Spec) {
			s.Tap = &vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0, 10, 0, 0, 255}}
		}, replaced(`"serial":`, `"net":[{"tap":"tap0","mac":"02:00:0a:00:00:ff"}],"serial":`)},
		{"what option parsers and shells know", func(s *vm.Spec) {
			s.Kernel, s.Cmdline = `/a,b="c"/vmlinux`, "console=ttyS0,115200 init='[x]'"
		}, replaced("/a/vmlinux", `/a,b=\"c\"/vmlinux`, "ttyS0 quiet", "ttyS0,115200 init='[x]'")},
	}
	for _, test := range tests {
		spec := vm.Spec{
			Dir: "/m", Arch: "x86_64", Kernel: "/a/vmlinux", Initrd: "/a/initrd", Cmdline: "console=ttyS0 quiet",
			MemoryMiB: 512, CPUs: 1, CID: 3,
		}
		test.change(&spec)
		got, err := json.Marshal(configOf(spec))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if err := checkDocument("VmConfig", got); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// What the fake refuses is what the API's description does not allow.
func TestFakeRefuses(t *testing.T) {
	const rest = `"payload":{}`
	tests := []struct{ text, want string }{
		{`{}`, "VmConfig has no payload"},
		{`{` + rest + `,"cpu":{}}`, "VmConfig has cpu, which is not known"},
		{`{` + rest + `,"cpus":{"boot_vcpus":1}}`, "VmConfig.cpus has no max_vcpus"},
		{`{` + rest + `,"cpus":{"boot_vcpus":0,"max_vcpus":1}}`, "VmConfig.cpus.boot_vcpus is 0, want integer>=1"},
		{`{` + rest + `,"memory":{"size":"64M"}}`, "VmConfig.memory.size is 64M, want integer"},
		{`{` + rest + `,"memory":{"size":1.5}}`, "VmConfig.memory.size is 1.5, want integer"},
		{`{` + rest + `,"disks":{}}`, "VmConfig.disks is map[], want []DiskConfig"},
		{`{` + rest + `,"disks":[{"read_only":true}]}`, "VmConfig.disks[0] has read_only, which is not known"},
		{`{` + rest + `,"disks":[{"readonly":"on"}]}`, "VmConfig.disks[0].readonly is on, want boolean"},
		{`{` + rest + `,"disks":[{"image_type":"raw"}]}`, "VmConfig.disks[0].image_type is raw, want FixedVhd|"},
		{`{` + rest + `,"serial":{}}`, "VmConfig.serial has no mode"},
		{`{` + rest + `,"serial":{"mode":"tty"}}`, "VmConfig.serial.mode is tty, want Off|"},
		{`{` + rest + `,"vsock":{"cid":2,"socket":""}}`, "VmConfig.vsock.cid is 2, want integer>=3"},
		{`{` + rest + `,"vsock":null}`, "VmConfig.vsock is <nil>, want an object"},
		{`{` + rest + `} {}`, "more than one document"},
		{`{` + rest + `,"net":[{"tap":1}]}`, "VmConfig.net[0].tap is 1, want string"},
	}
	for _, test := range tests {
		if err := checkDocument("VmConfig", []byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q in it", test.text, err, test.want)
		}
	}
}

func TestMachineEnds(t *testing.T) {
	programs, requests := use(t, "powers off")
	var serial bytes.Buffer
	spec := newSpec(t, &serial)
	spec.Tap = &vm.Tap{Name: "lo", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	m := mustStart(t, spec)
	processtest.RequireEnd(t, m, programs, &serial)
	config, err := json.Marshal(configOf(spec))
	if err != nil {
		t.Fatal(err)
	}
	requireRequests(t, requests, "vmm.ping ", "vm.create "+string(config), "vm.boot ")
}

func requireRequests(t *testing.T, file string, want ...string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", string(got)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestMachineIsKilled(t *testing.T) {
	programs, _ := use(t, "")
	serial := processtest.NewOutput()
	spec := newSpec(t, serial)
	m := mustStart(t, spec)
	if got := serial.Await(t); got != "up\n" {
		t.Errorf("got serial output %q, want it while the machine runs", got)
	}
	guest, err := net.Dial("unix", vm.Vsock(spec.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	processtest.RequireKillMachine(t, m, programs)
}

func TestMachineWaitIsCancelled(t *testing.T) {
	programs, _ := use(t, "")
	serial := processtest.NewOutput()
	m := mustStart(t, newSpec(t, serial))
	processtest.RequireCancel(t, m, programs, serial)
}

// The program would boot the guest again.
func TestMachineResets(t *testing.T) {
	programs, _ := use(t, "resets")
	var serial bytes.Buffer
	m := mustStart(t, newSpec(t, &serial))
	for range 2 {
		if err := m.Wait(processtest.Limited(t)); err != nil {
			t.Errorf("got error %v, want none of a machine that resets", err)
		}
	}
	programs.RequireGone(t)
	if want := "[    1.0] reboot: Restarting system\n"; serial.String() != want {
		t.Errorf("got serial output %q, want %q", serial.String(), want)
	}
}

// Start cannot know yet, so Wait tells.
func TestMachineFails(t *testing.T) {
	tests := []struct{ mode, want string }{
		{"fails later", "cloud-hypervisor: exit status 1: vCPU thread panicked"},
		{"sends no events", "read events of cloud-hypervisor: invalid character"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			programs, _ := use(t, test.mode)
			m := mustStart(t, newSpec(t, io.Discard))
			processtest.RequireError(t, m.Wait(processtest.Limited(t)), test.want)
			programs.RequireGone(t)
		})
	}
}

func TestStartFails(t *testing.T) {
	const atOnce = 100 * time.Millisecond
	tests := []struct {
		mode    string
		timeout time.Duration
		change  func(*vm.Spec)
		want    []string
	}{
		{"fails", patience, nil, []string{"start machine: call vmm.ping: ", "cloud-hypervisor: exit status 1: Cannot open /dev/kvm: permission denied"}},
		{"is silent", atOnce, nil, []string{"start machine: call vmm.ping: time is over"}},
		{"speaks another protocol", patience, nil, []string{"call vmm.ping: ", "malformed HTTP"}},
		{"vmm.ping: hangs", atOnce, nil, []string{"call vmm.ping: time is over"}},
		{"vmm.ping: no JSON", patience, nil, []string{"call vmm.ping: invalid character '<'"}},
		{"vmm.ping: empty object", patience, nil, []string{"call vmm.ping: answer has no version"}},
		{"vmm.ping: half", patience, nil, []string{"call vmm.ping: unexpected EOF"}},
		{"vmm.ping: much", patience, nil, []string{"call vmm.ping: answer has more than 1048576 bytes"}},
		{"vmm.ping: redirect", patience, nil, []string{"call vmm.ping: got status 302 Found"}},
		{"vm.create: wrong status", patience, nil, []string{"call vm.create: got status 200 OK"}},
		{"vm.boot: ends", patience, nil, []string{"call vm.boot: ", "cloud-hypervisor: exit status 1: thread 'vmm' panicked: out of memory"}},
		{"vm.boot: hangs", atOnce, nil, []string{"call vm.boot: time is over"}},
		{"vm.boot: list of errors", patience, nil,
			[]string{"call vm.boot: got status 500 Internal Server Error: Error from API: The VM could not boot: Cannot load the kernel"}},
		{"vm.boot: text", patience, nil, []string{"call vm.boot: got status 500 Internal Server Error: Cannot load the kernel"}},
		{"vm.boot: no words", patience, nil, []string{"call vm.boot: got status 500 Internal Server Error"}},
		{"", patience, func(s *vm.Spec) { s.CPUs = 0 }, []string{"start machine: CPUs are 0"}},
		{"", patience, func(s *vm.Spec) { s.UserNetwork = true }, []string{"cloud-hypervisor has no user network; use a tap device or QEMU"}},
		{"", patience, func(s *vm.Spec) { s.Arch = "sparc" }, []string{"cloud-hypervisor does not emulate: machine is sparc, host is " + hostArch}},
		{"", 0, nil, []string{"start machine: time is over"}},
		{"", patience, func(s *vm.Spec) {
			if err := os.WriteFile(filepath.Join(s.Dir, socketName), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"api.sock: bind: address already in use"}},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			programs, _ := use(t, test.mode)
			spec := newSpec(t, io.Discard)
			if test.change != nil {
				test.change(&spec)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.timeout, errors.New("time is over"))
			defer cancel()
			m, err := Start(ctx, spec)
			if m != nil {
				t.Error("got a machine, want none")
			}
			processtest.RequireError(t, err, test.want...)
			programs.RequireGone(t)
		})
	}
}

func TestStartWithoutProgram(t *testing.T) {
	qemutest.Use(t)
	_, err := Start(processtest.Limited(t), newSpec(t, io.Discard))
	processtest.RequireError(t, err, `find hypervisor's program: exec: "cloud-hypervisor"`)
}
