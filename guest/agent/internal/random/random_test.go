package random

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// fake is a kernel that notes what it is asked for.
type fake struct {
	requests []uint
	info     []byte // of RNDADDENTROPY
	kept     []byte // the same memory, as it was left
	fail     uint   // the request that fails
}

func (f *fake) ioctl(_ uintptr, request uint, argument []byte) error {
	f.requests = append(f.requests, request)
	if argument != nil {
		f.info, f.kept = slices.Clone(argument), argument
	}
	if request == f.fail {
		return unix.EPERM
	}
	return nil
}

func (f *fake) generator(t *testing.T) (g *Generator, generationFile string) {
	t.Helper()
	root := t.TempDir()
	return &Generator{Root: root, Device: os.DevNull, Ioctl: f.ioctl}, filepath.Join(root, contract.RestoreGenerationFile)
}

func requireGeneration(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if want == "" && errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil || string(got) != want {
		t.Errorf("got generation %q, %v, want %q", got, err, want)
	}
}

func TestReseed(t *testing.T) {
	var kernel fake
	g, generationFile := kernel.generator(t)
	seed := bytes.Repeat([]byte("0123456789abcdef"), 3)
	if err := g.Reseed(seed); err != nil {
		t.Fatal(err)
	}
	if want := []uint{unix.RNDADDENTROPY, unix.RNDRESEEDCRNG}; !slices.Equal(kernel.requests, want) {
		t.Errorf("got requests %#x, want %#x", kernel.requests, want)
	}
	want := binary.NativeEndian.AppendUint32(nil, 48*8)
	want = binary.NativeEndian.AppendUint32(want, 48)
	if want = append(want, seed...); !bytes.Equal(kernel.info, want) {
		t.Errorf("got struct rand_pool_info %x, want %x", kernel.info, want)
	}
	if !bytes.Equal(kernel.kept, make([]byte, len(want))) {
		t.Errorf("the seed is left in memory: %x", kernel.kept)
	}
	if got := g.Reseeds(); got != 1 {
		t.Errorf("got %d reseeds, want 1", got)
	}
	requireGeneration(t, generationFile, "1\n")
}

func TestReseedFails(t *testing.T) {
	const seed = "0123456789abcdef0123456789abcdef"
	tests := []struct {
		name, seed string
		fail       uint
		requests   int
		want       string
	}{
		{"entropy", seed, unix.RNDADDENTROPY, 1, "add entropy: operation not permitted"},
		{"reseeding", seed, unix.RNDRESEEDCRNG, 2, "reseed random number generator: operation not permitted"},
		{"short seed", seed[:31], 0, 0, "seed has 31 bytes, want at least 32"},
		{"no seed", "", 0, 0, "seed has 0 bytes, want at least 32"},
	}
	for _, test := range tests {
		kernel := fake{fail: test.fail}
		g, generationFile := kernel.generator(t)
		if err := g.Reseed([]byte(test.seed)); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
		if bytes.Contains(kernel.kept, []byte("0123")) {
			t.Errorf("%s: the seed is left in memory", test.name)
		}
		if len(kernel.requests) != test.requests || g.Reseeds() != 0 {
			t.Errorf("%s: got %d requests and %d reseeds, want %d and 0", test.name, len(kernel.requests), g.Reseeds(), test.requests)
		}
		requireGeneration(t, generationFile, "")
	}
}

// TestReseedRefused asks the real kernel, which refuses root of a namespace.
func TestReseedRefused(t *testing.T) {
	if !nstest.Inside(t, 0) {
		return
	}
	g := System()
	g.Root = t.TempDir()
	if err := g.Reseed(make([]byte, MinSeed)); !errors.Is(err, unix.EPERM) {
		t.Errorf("got error %v, want %v", err, unix.EPERM)
	}
}

// TestGeneration checks that each reseeding is seen, whatever becomes of the
// file and of the agent.
func TestGeneration(t *testing.T) {
	var kernel fake
	g, generationFile := kernel.generator(t)
	reseed := func(want string) {
		t.Helper()
		if err := g.Reseed(make([]byte, MinSeed)); err != nil {
			t.Fatal(err)
		}
		requireGeneration(t, generationFile, want)
	}
	reseed("1\n")
	reseed("2\n")
	g = &Generator{Root: g.Root, Device: g.Device, Ioctl: g.Ioctl} // started again
	reseed("3\n")
	for _, content := range []string{"", "-7\n", "1\n", "9223372036854775808\n", "a line of more than thirty-two bytes\n"} {
		last := g.generation
		if err := os.WriteFile(generationFile, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := g.Reseed(make([]byte, MinSeed)); err != nil || g.generation != last+1 {
			t.Errorf("behind %q: got generation %d, %v, want %d", content, g.generation, err, last+1)
		}
	}
	if err := os.RemoveAll(filepath.Join(g.Root, "run")); err != nil {
		t.Fatal(err)
	}
	reseed("9\n")
}
