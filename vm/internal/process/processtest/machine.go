package processtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// RequireEnd checks a machine that writes LongText and powers off.
func RequireEnd(t *testing.T, m vm.Machine, programs *qemutest.Programs, serial *bytes.Buffer) {
	t.Helper()
	for range 2 {
		if err := m.Wait(Limited(t)); err != nil {
			t.Error(err)
		}
		programs.RequireGone(t)
		if serial.String() != LongText {
			t.Errorf("got %d bytes of serial output, want %d", serial.Len(), len(LongText))
		}
		if err := m.Kill(); err != nil {
			t.Errorf("kill after the end: %v", err)
		}
	}
}

// RequireKill checks that what would not end is killed, whoever else asks for it
// at the same time, and that to kill it once more is no error.
func RequireKill(t *testing.T, m interface{ Kill() error }, programs *qemutest.Programs) {
	t.Helper()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	programs.RequireGone(t)
	if err := m.Kill(); err != nil {
		t.Errorf("kill once more: %v", err)
	}
}

// RequireKillMachine checks what RequireKill does, and that Wait has no error then.
func RequireKillMachine(t *testing.T, m vm.Machine, programs *qemutest.Programs) {
	t.Helper()
	RequireKill(t, m, programs)
	if err := m.Wait(Limited(t)); err != nil {
		t.Errorf("wait for a killed machine: %v", err)
	}
}

// RequireCancel checks that the end of Wait's context kills a machine that writes
// something and would not end.
func RequireCancel(t *testing.T, m vm.Machine, programs *qemutest.Programs, serial *Output) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(Limited(t))
	want := errors.New("no more patience")
	go func() {
		select {
		case <-serial.text:
			cancel(want)
		case <-ctx.Done():
		}
	}()
	if err := m.Wait(ctx); !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
	programs.RequireGone(t)
}
