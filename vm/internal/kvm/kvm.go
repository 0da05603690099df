// Package kvm finds out whether KVM runs guests on this host: /dev/kvm opens on
// machines where no guest gets anywhere. How one is started is the hypervisors'
// business.
package kvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// Device is KVM's, see Documentation/virt/kvm/api.rst of Linux.
	Device = "/dev/kvm"
	// Timeout is how long a kernel may take to its first word. With KVM it takes a
	// fraction of a second.
	Timeout = 3 * time.Second
)

// Guest is a machine that is started to see how far it gets.
type Guest interface {
	Done() <-chan struct{} // closed when it has ended by itself
	Kill() error
}

// Start starts a guest with a kernel that speaks on its serial port.
type Start func(serial io.Writer) (Guest, error)

// ErrNotStarted tells of a guest that its hypervisor refuses, as it does where
// KVM makes no machine.
var ErrNotStarted = errors.New("guest does not start")

// Works starts a guest and says whether its kernel's first words came. A guest
// that does not start, or ends by itself without a word, may have other reasons,
// so the next call tries again; all other answers are kept in cacheDir until this
// host reboots.
func Works(ctx context.Context, device, cacheDir string, timeout time.Duration, start Start) (bool, error) {
	kvm, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false, nil
	}
	if err := kvm.Close(); err != nil {
		return false, err
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false, err
	}
	// Two probes write the same. One that reads half of it probes again.
	cached := filepath.Join(cacheDir, "accel")
	answers := map[bool]string{true: "kvm " + string(bootID), false: "tcg " + string(bootID)}
	if known, err := os.ReadFile(cached); err == nil {
		for works, answer := range answers {
			if string(known) == answer {
				return works, nil
			}
		}
	}
	works, certain, err := try(ctx, timeout, start)
	if err != nil || !certain {
		return works, err
	}
	if err := errors.Join(os.MkdirAll(cacheDir, 0o700), os.WriteFile(cached, []byte(answers[works]), 0o600)); err != nil {
		return false, fmt.Errorf("remember answer: %w", err)
	}
	return works, nil
}

func try(ctx context.Context, timeout time.Duration, start Start) (works, certain bool, err error) {
	said := &firstWord{heard: make(chan struct{})}
	guest, err := start(said)
	if errors.Is(err, ErrNotStarted) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-said.heard:
	case <-guest.Done():
	case <-timer.C:
		certain = true
	case <-ctx.Done():
		return false, false, errors.Join(context.Cause(ctx), guest.Kill())
	}
	if err := guest.Kill(); err != nil {
		return false, false, err
	}
	select {
	case <-said.heard:
		return true, true, nil
	default:
		return false, certain, nil
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
