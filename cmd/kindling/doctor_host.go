package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"golang.org/x/sys/unix"
)

// qemuPrograms are the programs that run machines of an architecture.
var qemuPrograms = map[string]string{"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64"}

// examinePrograms looks for the hypervisors.
func (d *doctor) examinePrograms() {
	const check = "program"
	look := func(name string) (found bool) {
		path, err := exec.LookPath(name)
		if err == nil {
			d.ok(check, name, path)
		}
		return err == nil
	}
	other := look("cloud-hypervisor")
	qemu := qemuPrograms[d.arch]
	if qemu == "" {
		d.fail(check, "hypervisor", "none is known for this machine, "+d.arch, "use one that is x86_64 or aarch64")
		return
	}
	for _, name := range []string{qemu, "vhost-device-vsock"} {
		if look(name) {
			continue
		}
		const lack = "not in PATH, and kindling run needs it"
		advice := fmt.Sprintf("install the package that has %s, or add its folder to PATH", name)
		if other {
			d.warn(check, name, lack, advice)
		} else {
			d.fail(check, name, lack, advice)
		}
	}
}

const (
	kvmGetAPIVersion = 0xae00 // KVM_GET_API_VERSION of linux/kvm.h
	kvmAPIVersion    = 12     // Documentation/virt/kvm/api.rst: all others are to be refused
)

// examineKVM tells whether machines run on the processor. Without KVM they are
// emulated.
func (d *doctor) examineKVM() {
	const check, slow = "kvm", "; machines are emulated, which is slow"
	switch version, err := kvmVersion(d.kvm); {
	case errors.Is(err, fs.ErrNotExist):
		d.warn(check, d.kvm, "it does not exist"+slow,
			"turn virtualization on in the firmware (in a virtual machine: nested virtualization), then modprobe kvm_intel or kvm_amd")
	case errors.Is(err, fs.ErrPermission):
		d.warn(check, d.kvm, "this user may not open it"+slow, "add the user to the group that has it: usermod -aG kvm USER, and log in again")
	case err != nil:
		d.warn(check, d.kvm, "it is no working KVM: "+err.Error()+slow, "look for kvm in dmesg")
	case version != kvmAPIVersion:
		d.warn(check, d.kvm, fmt.Sprintf("it has version %d of its interface, want %d", version, kvmAPIVersion)+slow, "use another kernel on this machine")
	default:
		// On some machines no guest gets anywhere though all this is right, which only
		// starting one shows.
		d.ok(check, d.kvm, "it opens and has the right interface; kindling run tries it before it relies on it")
	}
}

func kvmVersion(device string) (version int, err error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	return unix.IoctlRetInt(fd, kvmGetAPIVersion)
}
