package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

func TestProbe(t *testing.T) {
	const atOnce = 100 * time.Millisecond
	tests := []struct {
		name, qemu string
		timeout    time.Duration
		want       Accel
		kept       bool
	}{
		{"kernel speaks", "speaks and runs on", patience, KVM, true},
		{"kernel speaks and ends", "speaks", patience, KVM, true},
		{"kernel never speaks", "starts", atOnce, TCG, true},
		{"firmware alone", "is silent", patience, TCG, false},
		{"QEMU fails", "fails", patience, TCG, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs := qemutest.Use(t, "qemu-system-x86_64")
			t.Setenv(qemuEnv, test.qemu)
			device, cache := newDevice(t), filepath.Join(t.TempDir(), "new", "cache")
			got, err := probe(processtest.Limited(t), device, "vmlinux", cache, test.timeout)
			if err != nil || got != test.want {
				t.Errorf("got %q, error %v, want %q", got, err, test.want)
			}
			programs.RequireGone(t)
			// Without QEMU, only what is kept can give the answer.
			t.Setenv("PATH", t.TempDir())
			got, err = probe(processtest.Limited(t), device, "vmlinux", cache, test.timeout)
			if test.kept && (err != nil || got != test.want) {
				t.Errorf("from cache: got %q, error %v, want %q", got, err, test.want)
			}
			if !test.kept {
				processtest.RequireError(t, err, "qemu-system-x86")
			}
		})
	}
}

// newDevice is a file that can be opened as /dev/kvm is.
func newDevice(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestProbeWithoutKVM(t *testing.T) {
	qemutest.Use(t) // QEMU is not needed
	cache := t.TempDir()
	got, err := probe(processtest.Limited(t), filepath.Join(cache, "none"), "vmlinux", cache, patience)
	if err != nil || got != TCG {
		t.Errorf("got %q, error %v, want %q", got, err, TCG)
	}
}

func TestProbeForgets(t *testing.T) {
	for _, text := range []string{"", "kvm", "tcg", "kvm of another boot\n", "tc"} {
		qemutest.Use(t, "qemu-system-x86_64")
		t.Setenv(qemuEnv, "speaks")
		cache := t.TempDir()
		if err := os.WriteFile(filepath.Join(cache, "accel"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := probe(processtest.Limited(t), newDevice(t), "vmlinux", cache, patience)
		if err != nil || got != KVM {
			t.Errorf("with %q in cache: got %q, error %v, want a new answer %q", text, got, err, KVM)
		}
	}
}

func TestProbeFails(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64")
	t.Setenv(qemuEnv, "starts")
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("interrupted")
	cancel(want)
	if _, err := probe(ctx, newDevice(t), "vmlinux", t.TempDir(), patience); !errors.Is(err, want) {
		t.Errorf("cancelled: got error %v, want %v", err, want)
	}
	programs.RequireGone(t)

	t.Setenv(qemuEnv, "speaks")
	device := newDevice(t)
	_, err := probe(processtest.Limited(t), device, "vmlinux", device, patience)
	processtest.RequireError(t, err, "remember answer: ")
}
