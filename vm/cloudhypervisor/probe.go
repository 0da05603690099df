package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/kvm"
)

// consoles are the serial ports as the kernel calls them.
var consoles = map[string]string{"aarch64": "ttyAMA0", "x86_64": "ttyS0"}

// Probe says whether KVM can really run a kernel for an architecture here, by
// running it until it says something. The answer is kept in cacheDir until this
// machine reboots.
func Probe(ctx context.Context, arch, kernel, initrd, cacheDir string) (bool, error) {
	if arch != hostArch {
		return false, nil
	}
	works, err := probe(ctx, kvm.Device, kernel, initrd, cacheDir, kvm.Timeout)
	if err != nil {
		return false, fmt.Errorf("probe KVM: %w", err)
	}
	return works, nil
}

func probe(ctx context.Context, device, kernel, initrd, cacheDir string, timeout time.Duration) (_ bool, err error) {
	dir, err := os.MkdirTemp("/tmp", "kindling-probe") // a Unix socket's address is too short for others
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return kvm.Works(ctx, device, cacheDir, timeout, func(serial io.Writer) (kvm.Guest, error) {
		console := consoles[hostArch]
		m, err := Start(ctx, vm.Spec{
			Dir: dir, Arch: hostArch, Kernel: kernel, Initrd: initrd,
			Cmdline:   "console=" + console + " earlyprintk=" + console + " panic=-1",
			MemoryMiB: 256, CPUs: 1, CID: 3, Serial: serial,
		})
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%w: %w", kvm.ErrNotStarted, err)
		}
		return m.process, nil
	})
}
