package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
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

// Probe says whether KVM can really run the kernel here, by running it without
// an initrd until it says something: /dev/kvm opens on machines where no guest
// gets anywhere. The answer is kept in cacheDir until this machine reboots.
func Probe(ctx context.Context, kernel, cacheDir string) (Accel, error) {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, nil
	}
	if err := kvm.Close(); err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	cached := filepath.Join(cacheDir, "accel-"+strings.TrimSpace(string(bootID)))
	if known, err := os.ReadFile(cached); err == nil {
		if accel := Accel(known); accel == KVM || accel == TCG {
			return accel, nil
		}
	}
	accel, err := probe(ctx, kernel)
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	// Two probes write the same word.
	if err := errors.Join(os.MkdirAll(cacheDir, 0o755), os.WriteFile(cached, []byte(accel), 0o644)); err != nil {
		return "", fmt.Errorf("remember accelerator: %w", err)
	}
	return accel, nil
}

func probe(ctx context.Context, kernel string) (Accel, error) {
	program := programs["x86_64"]
	qemu, err := find(program.name, program.pkg)
	if err != nil {
		return "", err
	}
	said := &firstWord{heard: make(chan struct{})}
	p, err := startProcess(exec.Command(qemu,
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", KVM.option(), "-cpu", "max", "-machine", "q35", "-m", "256M",
		"-serial", "stdio", "-kernel", kernel, "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"), said)
	if err != nil {
		return "", err
	}
	timer := time.NewTimer(probeTimeout)
	defer timer.Stop()
	accel := TCG
	select {
	case <-said.heard:
		accel = KVM
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), p.kill())
	}
	return accel, p.kill()
}

// firstWord closes heard when a kernel's version line comes by.
type firstWord struct {
	heard chan struct{}
	text  bytes.Buffer
	done  bool
}

func (f *firstWord) Write(p []byte) (int, error) {
	if !f.done {
		f.text.Write(p)
		if bytes.Contains(f.text.Bytes(), []byte("Linux version ")) {
			f.done = true
			close(f.heard)
		}
	}
	return len(p), nil
}
