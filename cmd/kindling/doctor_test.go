package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// examine has a doctor examine an x86_64 machine without KVM.
func (h *setHost) examine(t *testing.T) *doctor {
	t.Helper()
	d := &doctor{
		dir: h.dataDir, store: system.NewStore(h.dataDir, system.Options{}), arch: "x86_64", kvm: filepath.Join(t.TempDir(), "kvm"),
	}
	d.examine(t.Context())
	return d
}

// wantFinding fails unless there is one finding with a text, of that status.
func wantFinding(t *testing.T, d *doctor, check string, status status, text string) {
	t.Helper()
	for _, f := range d.findings {
		if f.Check == check && f.Status == status && strings.Contains(f.Subject+": "+f.Detail, text) {
			if (f.Advice == "") != (status == statusOK) {
				t.Errorf("%s %s: advice is %q", check, f.Subject, f.Advice)
			}
			return
		}
	}
	t.Errorf("no finding %s %s %q in %+v", status, check, text, d.findings)
}

func TestDoctorFindsNothing(t *testing.T) {
	h := newSetHost(t)
	must(t, "install", "--arch", both, "set")
	d := h.examine(t)
	if got := d.count(statusError); got != 0 {
		t.Errorf("%d errors in %+v", got, d.findings)
	}
	wantFinding(t, d, "data-dir", statusOK, "MiB are free")
	full := *d
	full.room = math.MaxUint64
	full.examineDir(t.Context())
	wantFinding(t, &full, "data-dir", statusWarning, "MiB are free, which may be too little for another set")
	wantFinding(t, d, "sets", statusOK, h.set.id+": complete for aarch64, x86_64")
	wantFinding(t, d, "file", statusOK, h.file(t, "x86_64", bundle.Initrd)+": initrd, 14 bytes")
	wantFinding(t, d, "kernel", statusOK, "elf for x86_64, loaded by qemu, cloud-hypervisor")
	wantFinding(t, d, "kernel", statusOK, "arm64-image for aarch64, loaded by qemu, cloud-hypervisor")
	wantFinding(t, d, "program", statusOK, "qemu-system-x86_64: ")
	wantFinding(t, d, "program", statusOK, "vhost-device-vsock: ")
	wantFinding(t, d, "kvm", statusWarning, "it does not exist; machines are emulated")
}

func TestDoctorFindsSets(t *testing.T) {
	h := newSetHost(t)
	wantFinding(t, h.examine(t), "data-dir", statusError, "it does not exist")
	if err := os.Mkdir(h.dataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, h.examine(t), "sets", statusError, "no artifact set is installed")

	must(t, "install", "--arch", "aarch64", "--no-latest", "set")
	d := h.examine(t)
	wantFinding(t, d, "sets", statusWarning, "no set is the latest")
	wantFinding(t, d, "sets", statusOK, h.set.id+": installed for aarch64 only")

	must(t, "install", "--arch", "aarch64", "set")
	wantFinding(t, h.examine(t), "sets", statusError, h.set.id+": it is the latest, and not complete for this machine, x86_64")

	must(t, "install", "--arch", "x86_64", "set")
	path := h.damage(t, bundle.Initrd)
	wantFinding(t, h.examine(t), "file", statusError, path+": "+path+" is corrupt: ")
	wantFinding(t, h.examine(t), "file", statusError, path+": artifact set "+h.set.id+" is not complete for x86_64, it lacks initrd")

	if err := os.Chmod(h.dataDir, 0o777); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, h.examine(t), "data-dir", statusError, h.dataDir)
}

func TestDoctorFindsKernels(t *testing.T) {
	tests := []struct {
		name   string
		kernel []byte
		status status
		want   string
	}{
		{"no PVH note", kerneltest.VMLinux(), statusError, "PVH"},
		{"no kernel", []byte("kernel"), statusError, "vmlinux: "},
		{"for another architecture", kerneltest.Image(), statusError, "aarch64"},
		{"compressed", kerneltest.BzImage(kerneltest.Sized(kerneltest.Zstd(kerneltest.VMLinux(kerneltest.PVH())),
			len(kerneltest.VMLinux(kerneltest.PVH())))), statusWarning, "cloud-hypervisor"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newSetHost(t)
			writeSetOf(t, "set", "one", test.kernel)
			must(t, "install", "--arch", "x86_64", "set")
			wantFinding(t, h.examine(t), "kernel", test.status, test.want)
		})
	}
}

func TestDoctorFindsPrograms(t *testing.T) {
	h := newSetHost(t)
	qemutest.Use(t, "vhost-device-vsock")
	wantFinding(t, h.examine(t), "program", statusError, "qemu-system-x86_64: not in PATH")
	qemutest.Use(t, "cloud-hypervisor", "qemu-system-x86_64")
	wantFinding(t, h.examine(t), "program", statusWarning, "vhost-device-vsock: not in PATH")
	d := &doctor{arch: "riscv64"}
	d.examinePrograms()
	wantFinding(t, d, "program", statusError, "hypervisor: none is known for this machine, riscv64")
}

func TestDoctorFindsKVM(t *testing.T) {
	device := writeFile(t, filepath.Join(t.TempDir(), "kvm"), nil)
	d := &doctor{kvm: device}
	d.examineKVM()
	wantFinding(t, d, "kvm", statusWarning, device+": it is no working KVM: inappropriate ioctl for device")
}
