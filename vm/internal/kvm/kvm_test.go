package kvm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// guest is one that ends when it is killed, or before.
type guest struct {
	done   chan struct{}
	killed bool
}

func (g *guest) Done() <-chan struct{} { return g.done }

func (g *guest) Kill() error {
	g.killed = true
	return nil
}

// say starts a guest that writes some texts and then ends or does not.
func say(g *guest, ends bool, texts ...string) func(io.Writer) (Guest, error) {
	return func(serial io.Writer) (Guest, error) {
		for _, text := range texts {
			if _, err := io.WriteString(serial, text); err != nil {
				return nil, err
			}
		}
		if ends {
			close(g.done)
		}
		return g, nil
	}
}

func TestWorks(t *testing.T) {
	tests := []struct {
		name    string
		ends    bool
		texts   []string
		timeout time.Duration
		want    bool
		kept    bool
	}{
		{"speaks", false, []string{"SeaBIOS\r\n", "[ 0.0] Linux version 6.12.0"}, patience, true, true},
		{"speaks in pieces and ends", true, []string{"Linux ", "", "ver", "sion ", "6"}, patience, true, true},
		{"says something else", false, []string{"Linux", "version "}, time.Millisecond, false, true},
		{"ends without a word", true, nil, patience, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			device, cache := filepath.Join(dir, "kvm"), filepath.Join(dir, "new", "cache")
			if err := os.WriteFile(device, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for i, starts := range []bool{true, !test.kept} {
				g := &guest{done: make(chan struct{})}
				got, err := Works(t.Context(), device, cache, test.timeout, say(g, test.ends, test.texts...))
				if err != nil || got != test.want {
					t.Errorf("call %d: got %v, error %v, want %v", i, got, err, test.want)
				}
				if g.killed != starts {
					t.Errorf("call %d: guest was started and killed: %v, want %v", i, g.killed, starts)
				}
			}
		})
	}
}

func TestWorksWithoutGuest(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "kvm")
	if works, err := Works(t.Context(), device, dir, patience, nil); err != nil || works {
		t.Errorf("no device: got %v, error %v, want false", works, err)
	}
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no program")
	for _, test := range []struct{ err, want error }{{broken, broken}, {ErrNotStarted, nil}} {
		works, err := Works(t.Context(), device, dir, patience, func(io.Writer) (Guest, error) { return nil, test.err })
		if works || !errors.Is(err, test.want) {
			t.Errorf("%v: got %v, error %v, want %v", test.err, works, err, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	g := &guest{done: make(chan struct{})}
	if _, err := Works(ctx, device, dir, patience, say(g, false)); !errors.Is(err, broken) || !g.killed {
		t.Errorf("cancelled: got error %v, guest killed %v, want %v", err, g.killed, broken)
	}
}
