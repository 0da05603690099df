package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

func TestSetLauncher(t *testing.T) {
	t.Chdir("/tmp")
	tests := []struct {
		launcher launcher
		dir      string
		want     []string // in the command lines, one each
		err      string
	}{
		{launcher{hypervisorCloud, qemu.KVM}, "/m",
			[]string{"cloud-hypervisor --kernel=/tmp/a/vmlinux --initramfs=/tmp/a/initrd --cmdline=quiet "}, ""},
		{launcher{hypervisorCloud, qemu.KVM}, "/m[1]", []string{},
			`write command line: vsock: socket "/m[1]/vsock.sock" has a quote or a bracket, which cloud-hypervisor's options cannot express`},
		{launcher{hypervisorQEMU, qemu.TCG}, "/m[1]", []string{
			"vhost-device-vsock --guest-cid 3 --socket /m[1]/vhost.sock --uds-path /m[1]/vsock.sock",
			" -kernel /tmp/a/vmlinux -initrd /tmp/a/initrd -append quiet ",
		}, ""},
	}
	for _, test := range tests {
		record := emptyRecord("web")
		record.setLauncher(test.launcher, vm.Spec{
			Dir: test.dir, Arch: "x86_64", Kernel: "a/vmlinux", Initrd: "/tmp/a/initrd", Cmdline: "quiet",
			MemoryMiB: 512, CPUs: 1, CID: 3,
		})
		if record.HypervisorCommandsError != test.err || len(record.HypervisorCommands) != len(test.want) {
			t.Errorf("%+v: got %q, error %q, want %q, error %q",
				test.launcher, record.HypervisorCommands, record.HypervisorCommandsError, test.want, test.err)
			continue
		}
		for i, want := range test.want {
			if got := strings.Join(record.HypervisorCommands[i], " "); !strings.Contains(got, want) {
				t.Errorf("%+v: got command line %q, want %q in it", test.launcher, got, want)
			}
		}
	}
}

func TestInspectCommandsOfCloudHypervisor(t *testing.T) {
	h := newHost(t)
	h.programs = qemutest.Use(t, hypervisorCloud)
	t.Setenv(serialEnv, exited("", 0))
	if diff := cmp.Diff(result{}, kindling("run", "--name", "web", "--accel", "kvm", "--net", "none")); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	artifacts, dir := filepath.Dir(os.Getenv("KINDLING_ARTIFACTS")), h.state+"/vm/web"
	m := inspect(t, "web")
	want := [][]string{{
		"cloud-hypervisor",
		"--kernel=" + artifacts + "/kernel, for x86", "--initramfs=" + artifacts + "/initrd, for x86", "--cmdline=console=ttyS0 quiet",
		"--cpus", "boot=1,max=1", "--memory", "size=536870912",
		"--disk", `path="` + m.Disks[0].Path + `",readonly=on,image_type=raw`,
		`path="` + dir + `/overlay.raw",readonly=off,image_type=raw`, `path="` + dir + `/config.ext4",readonly=on,image_type=raw`,
		"--vsock", `cid=3,socket="` + dir + `/vsock.sock"`,
		"--serial", "tty", "--console", "off",
	}}
	if diff := cmp.Diff(want, m.HypervisorCommands); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestReadRecordOfEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"name": "web"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(emptyRecord("web"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
