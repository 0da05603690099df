package qemu

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
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

func TestArguments(t *testing.T) {
	plain := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", "tcg,thread=multi",
		"-cpu", "max,erms=off,fsrm=off",
		"-machine", "q35,memory-backend=memory",
		"-object", "memory-backend-memfd,id=memory,size=512M,share=on",
		"-m", "512M",
		"-smp", "1",
		"-serial", "stdio",
		"-kernel", "/a/vmlinux",
		"-initrd", "/a/initrd",
		"-append", "console=ttyS0 quiet",
	}
	vsock := []string{
		"-qmp", "unix:/m/monitor.sock,server=on,wait=off",
		"-chardev", "socket,id=vsock,path=/m/vhost.sock",
		"-device", "pcie-root-port,id=vsock-port",
		"-device", "vhost-user-vsock-pci,id=vsock0,bus=vsock-port,chardev=vsock",
	}
	disks := []string{
		"-blockdev", "driver=raw,node-name=disk0,read-only=on,file.driver=file,file.filename=/m/root.ext4",
		"-device", "virtio-blk-pci,drive=disk0",
		"-blockdev", "driver=raw,node-name=disk1,read-only=off,file.driver=file,file.filename=/m/overlay.raw",
		"-device", "virtio-blk-pci,drive=disk1",
	}
	replace := func(args []string, pairs ...string) []string {
		replacer := strings.NewReplacer(pairs...)
		var replaced []string
		for _, arg := range args {
			replaced = append(replaced, replacer.Replace(arg))
		}
		return replaced
	}
	concat := func(parts ...[]string) (all []string) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return all
	}
	tests := []struct {
		name   string
		accel  Accel
		change func(*vm.Spec)
		want   []string
	}{
		{"no disks", TCG, func(*vm.Spec) {}, concat(plain, vsock)},
		{"aarch64", TCG, func(s *vm.Spec) { s.Arch = "aarch64" },
			concat(replace(plain, "erms=off,fsrm=off", "pauth-impdef=on", "q35", "virt"), vsock)},
		{"aarch64 with KVM", KVM, func(s *vm.Spec) { s.Arch = "aarch64" },
			concat(replace(plain, "tcg,thread=multi", "kvm", ",erms=off,fsrm=off", "", "q35", "virt"), vsock)},
		{"KVM", KVM, func(*vm.Spec) {}, concat(replace(plain, "tcg,thread=multi", "kvm", ",erms=off,fsrm=off", ""), vsock)},
		{"size", TCG, func(s *vm.Spec) { s.MemoryMiB, s.CPUs = 2048, 4 },
			concat(replace(plain, "512M", "2048M", "1", "4"), vsock)},
		{"disks in order", TCG, func(s *vm.Spec) {
			s.Disks = []vm.Disk{{Path: "/m/root.ext4", ReadOnly: true}, {Path: "/m/overlay.raw"}}
		}, concat(plain, disks, vsock)},
		{"network", TCG, func(s *vm.Spec) { s.UserNetwork = true },
			concat(plain, []string{"-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network,romfile="}, vsock)},
		{"forwards", TCG, func(s *vm.Spec) {
			s.UserNetwork = true
			s.Forwards = []vm.Forward{
				{Host: netip.MustParseAddrPort("127.0.0.1:8080"), Guest: 80},
				{Host: netip.MustParseAddrPort("0.0.0.0:2222"), Guest: 22},
			}
		}, concat(plain, []string{
			"-netdev", "user,id=network,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:0.0.0.0:2222-:22",
			"-device", "virtio-net-pci,netdev=network,romfile="}, vsock)},
		{"tap device", TCG, func(s *vm.Spec) {
			s.Tap = &vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0, 10, 0, 0, 255}}
		}, concat(plain, []string{
			"-netdev", "tap,id=network,ifname=tap0,script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=network,romfile=,mac=02:00:0a:00:00:ff"}, vsock)},
		{"commas only where QEMU parses them", TCG, func(s *vm.Spec) {
			s.Dir, s.Kernel, s.Cmdline = "/m, n=1", "/a,b/vmlinux", "console=ttyS0,115200"
			s.Disks = []vm.Disk{{Path: "/m, n=1/root.ext4", ReadOnly: true}, {Path: "/m, n=1/overlay.raw"}}
		}, concat(
			replace(plain, "/a/vmlinux", "/a,b/vmlinux", "ttyS0 quiet", "ttyS0,115200"),
			replace(disks, "/m/", "/m,, n=1/"), replace(vsock, "/m/", "/m,, n=1/"))},
	}
	for _, test := range tests {
		spec := vm.Spec{
			Dir: "/m", Arch: "x86_64", Kernel: "/a/vmlinux", Initrd: "/a/initrd", Cmdline: "console=ttyS0 quiet",
			MemoryMiB: 512, CPUs: 1, CID: 3,
		}
		test.change(&spec)
		if diff := cmp.Diff(test.want, arguments(spec, platforms[spec.Arch], test.accel, false)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		// A snapshot has no vsock.
		restored := append(test.want[:len(test.want)-2:len(test.want)-2], "-incoming", "defer")
		if diff := cmp.Diff(restored, arguments(spec, platforms[spec.Arch], test.accel, true)); diff != "" {
			t.Errorf("%s, restored (-want +got):\n%s", test.name, diff)
		}
	}
}

// newSpec is a machine in a folder of its own.
func newSpec(t *testing.T, serial io.Writer) vm.Spec {
	t.Helper()
	dir := qemutest.ShortDir(t, "qemu, ")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return vm.Spec{
		Dir: dir, Arch: "x86_64", Kernel: file, Initrd: file, Cmdline: "console=ttyS0",
		MemoryMiB: 64, CPUs: 1, CID: 3, Serial: serial,
	}
}

func TestMachineEnds(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
	t.Setenv(qemuEnv, "prints")
	var serial bytes.Buffer
	m, err := Start(processtest.Limited(t), newSpec(t, &serial), TCG)
	if err != nil {
		t.Fatal(err)
	}
	processtest.RequireEnd(t, m, programs, &serial)
}

func TestMachineIsKilled(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
	t.Setenv(qemuEnv, "starts")
	serial := processtest.NewOutput()
	m, err := Start(processtest.Limited(t), newSpec(t, serial), TCG)
	if err != nil {
		t.Fatal(err)
	}
	if got := serial.Await(t); got != "up\n" {
		t.Errorf("got serial output %q, want it while the machine runs", got)
	}
	processtest.RequireKillMachine(t, m, programs)
}

func TestMachineWaitIsCancelled(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
	t.Setenv(qemuEnv, "starts")
	serial := processtest.NewOutput()
	m, err := Start(processtest.Limited(t), newSpec(t, serial), TCG)
	if err != nil {
		t.Fatal(err)
	}
	processtest.RequireCancel(t, m, programs, serial)
}

// Start cannot know yet, so Wait tells.
func TestMachineFails(t *testing.T) {
	tests := []struct {
		name, qemu, vhost string
		want              []string
	}{
		{"QEMU", "fails", "", []string{"qemu-system-x86_64: exit status 1: -blockdev driver=raw: could not open disk"}},
		{"vhost-device-vsock", "connects", "fails later", []string{"vhost-user: lost: EOF", "vhost-device-vsock: exit status 1: could not map memory"}},
		{"vhost-device-vsock alone", "does not care", "fails later", []string{"lose guest's vsock: vhost-device-vsock: exit status 1: could not map memory"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
			t.Setenv(qemuEnv, test.qemu)
			t.Setenv(vhostEnv, test.vhost)
			m, err := Start(processtest.Limited(t), newSpec(t, io.Discard), TCG)
			if err != nil {
				t.Fatal(err)
			}
			processtest.RequireError(t, m.Wait(processtest.Limited(t)), test.want...)
			programs.RequireGone(t)
		})
	}
}

func TestStartFails(t *testing.T) {
	both := []string{"qemu-system-x86_64", "vhost-device-vsock"}
	tests := []struct {
		name     string
		timeout  time.Duration
		programs []string
		vhost    string
		change   func(*vm.Spec)
		want     []string
	}{
		{"no QEMU", patience, both[1:], "", nil, []string{"qemu-system-x86_64", "Debian package qemu-system-x86)"}},
		{"no vhost-device-vsock", patience, both[:1], "", nil, []string{"Debian package vhost-device-vsock)"}},
		{"arch", patience, both, "", func(s *vm.Spec) { s.Arch = "sparc" }, []string{`arch "sparc" is not known`}},
		{"spec", patience, both, "", func(s *vm.Spec) { s.CPUs = 0 }, []string{"start machine: CPUs are 0"}},
		{"vhost-device-vsock fails", patience, both, "fails", nil,
			[]string{"start machine: wait for socket", "vhost-device-vsock: exit status 1: could not bind: no permission"}},
		{"vhost-device-vsock ends", patience, both, "ends", nil, []string{"wait for socket", "vhost-device-vsock has ended"}},
		{"vhost-device-vsock never listens", 100 * time.Millisecond, both, "is silent", nil, []string{"wait for socket", "time is over"}},
		{"time is over before", 0, both, "", nil, []string{"start machine: time is over"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs := qemutest.Use(t, test.programs...)
			t.Setenv(vhostEnv, test.vhost)
			spec := newSpec(t, io.Discard)
			if test.change != nil {
				test.change(&spec)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.timeout, errors.New("time is over"))
			defer cancel()
			m, err := Start(ctx, spec, TCG)
			if m != nil {
				t.Error("got a machine, want none")
			}
			processtest.RequireError(t, err, test.want...)
			programs.RequireGone(t)
		})
	}
}
