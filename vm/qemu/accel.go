package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kindling-vm/kindling/vm/internal/process"
)

// Accel is how the guest's instructions are run.
type Accel string

const (
	KVM Accel = "kvm"
	TCG Accel = "tcg" // emulation
)

// probeTimeout is how long a kernel may take to its first word. With KVM it
// takes a fraction of a second.
const probeTimeout = 3 * time.Second

func (a Accel) option() string {
	if a == TCG {
		return "tcg,thread=multi"
	}
	return string(a)
}

// hostArch is this machine's architecture, as uname(1) says it.
var hostArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]

// Probe says whether KVM can really run a kernel for an architecture here, by
// running it without an initrd until it says something: /dev/kvm opens on
// machines where no guest gets anywhere. The answer is kept in cacheDir until
// this machine reboots.
func Probe(ctx context.Context, arch, kernel, cacheDir string) (Accel, error) {
	if arch != hostArch {
		return TCG, nil
	}
	accel, err := probe(ctx, "/dev/kvm", kernel, cacheDir, probeTimeout)
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	return accel, nil
}

func probe(ctx context.Context, device, kernel, cacheDir string, timeout time.Duration) (Accel, error) {
	kvm, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return TCG, nil
	}
	if err := kvm.Close(); err != nil {
		return "", err
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	// Two probes write the same. One that reads half of it probes again.
	cached := filepath.Join(cacheDir, "accel")
	answer := func(accel Accel) string { return string(accel) + " " + string(bootID) }
	if known, err := os.ReadFile(cached); err == nil {
		for _, accel := range []Accel{KVM, TCG} {
			if string(known) == answer(accel) {
				return accel, nil
			}
		}
	}
	accel, certain, err := try(ctx, kernel, timeout)
	if err != nil || !certain {
		return accel, err
	}
	if err := errors.Join(os.MkdirAll(cacheDir, 0o700), os.WriteFile(cached, []byte(answer(accel)), 0o600)); err != nil {
		return "", fmt.Errorf("remember answer: %w", err)
	}
	return accel, nil
}

// try runs the kernel with KVM. Its answer is not certain where QEMU ended by
// itself: that takes no time to find out again, and may have other reasons.
func try(ctx context.Context, kernel string, timeout time.Duration) (accel Accel, certain bool, err error) {
	platform := platforms[hostArch]
	qemu, err := find(platform.program, platform.pkg)
	if err != nil {
		return "", false, err
	}
	said := &firstWord{heard: make(chan struct{})}
	p, err := process.Start(exec.Command(qemu,
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", KVM.option(), "-cpu", platform.cpuFor(KVM), "-machine", platform.machine, "-m", "256M",
		"-serial", "stdio", "-kernel", kernel, "-append", "console="+platform.console+" earlyprintk="+platform.console+" panic=-1"), said)
	if err != nil {
		return "", false, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-said.heard:
	case <-p.Done():
	case <-timer.C:
		certain = true
	case <-ctx.Done():
		return "", false, errors.Join(context.Cause(ctx), p.Kill())
	}
	if err := p.Kill(); err != nil {
		return "", false, err
	}
	select {
	case <-said.heard:
		return KVM, true, nil
	default:
		return TCG, certain, nil
	}
}

// firstWord closes heard when a kernel's version line comes by.
type firstWord struct {
	heard chan struct{}
	text  []byte
	done  bool
}

func (f *firstWord) Write(p []byte) (int, error) {
	const word = "Linux version "
	if f.done {
		return len(p), nil
	}
	f.text = append(f.text, p...)
	if f.done = bytes.Contains(f.text, []byte(word)); f.done {
		close(f.heard)
	}
	f.text = f.text[max(0, len(f.text)-len(word)):]
	return len(p), nil
}
