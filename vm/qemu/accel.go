package qemu

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"time"

	"github.com/kindling-vm/kindling/vm/internal/kvm"
	"github.com/kindling-vm/kindling/vm/internal/process"
)

// Accel is how the guest's instructions are run.
type Accel string

const (
	KVM Accel = "kvm"
	TCG Accel = "tcg" // emulation
)

func (a Accel) option() string {
	if a == TCG {
		return "tcg,thread=multi"
	}
	return string(a)
}

// hostArch is this machine's architecture, as uname(1) says it.
var hostArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]

// Probe says whether KVM can really run a kernel for an architecture here, by
// running it without an initrd until it says something. The answer is kept in
// cacheDir until this machine reboots.
func Probe(ctx context.Context, arch, kernel, cacheDir string) (Accel, error) {
	if arch != hostArch {
		return TCG, nil
	}
	accel, err := probe(ctx, kvm.Device, kernel, cacheDir, kvm.Timeout)
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	return accel, nil
}

func probe(ctx context.Context, device, kernel, cacheDir string, timeout time.Duration) (Accel, error) {
	works, err := kvm.Works(ctx, device, cacheDir, timeout, func(serial io.Writer) (kvm.Guest, error) {
		platform := platforms[hostArch]
		qemu, err := find(platform.program, platform.pkg)
		if err != nil {
			return nil, err
		}
		return process.Start(exec.Command(qemu,
			"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", KVM.option(), "-cpu", platform.cpuFor(KVM), "-machine", platform.machine, "-m", "256M",
			"-serial", "stdio", "-kernel", kernel, "-append", "console="+platform.console+" earlyprintk="+platform.console+" panic=-1"), serial)
	})
	switch {
	case err != nil:
		return "", err
	case works:
		return KVM, nil
	default:
		return TCG, nil
	}
}
