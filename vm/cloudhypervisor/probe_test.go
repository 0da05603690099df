package cloudhypervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
)

func TestProbe(t *testing.T) {
	tests := []struct {
		name, mode string
		timeout    time.Duration
		want       bool
		kept       bool
	}{
		{"kernel speaks", "speaks", patience, true, true},
		{"kernel never speaks", "boots without a word", 100 * time.Millisecond, false, true},
		{"guest ends", "powers off", patience, false, false},
		{"KVM makes no machine", "vm.boot: list of errors", patience, false, false},
		{"program is broken", "vmm.ping: no JSON", patience, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs, requests := use(t, test.mode)
			dir := t.TempDir()
			file, cache := filepath.Join(dir, "file"), filepath.Join(dir, "cache")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				got, err := probe(processtest.Limited(t), file, file, file, cache, test.timeout)
				if err != nil || got != test.want {
					t.Errorf("got %v, error %v, want %v", got, err, test.want)
				}
				programs.RequireGone(t)
				if _, err := os.Stat(requests); i == 1 && test.kept != errors.Is(err, os.ErrNotExist) {
					t.Errorf("asked again: got error %v, want an answer that is kept: %v", err, test.kept)
				}
				if err := os.Remove(requests); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestProbeFails(t *testing.T) {
	programs, _ := use(t, "")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("interrupted")
	cancel(want)
	if _, err := probe(ctx, file, file, file, t.TempDir(), patience); !errors.Is(err, want) {
		t.Errorf("cancelled: got error %v, want %v", err, want)
	}
	programs.RequireGone(t)
	works, err := probe(processtest.Limited(t), filepath.Join(t.TempDir(), "none"), file, file, t.TempDir(), patience)
	if err != nil || works {
		t.Errorf("without KVM: got %v, error %v, want false", works, err)
	}
}
