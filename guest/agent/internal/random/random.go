// Package random reseeds the kernel's random number generator, whose state a
// copy of a machine has in common with the machine and with all other copies.
package random

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// MinSeed is the least length of a seed in bytes: that of the generator's key.
const MinSeed = 32

// maxGeneration bounds the generation's file, in bytes.
const maxGeneration = 32

// Generator is the kernel's random number generator, and a number by which
// programs learn that it was reseeded.
type Generator struct {
	Root   string // below which the generation's file is
	Device string // of the generator
	// Ioctl is ioctl(2) with a pointer to the argument, or none to an empty one.
	Ioctl      func(fd uintptr, request uint, argument []byte) error
	mu         sync.Mutex
	generation uint64
	reseeds    atomic.Uint64
}

// System returns the machine's generator.
func System() *Generator {
	return &Generator{Root: "/", Device: "/dev/urandom", Ioctl: ioctl}
}

// Reseed mixes a seed, of at least MinSeed bytes, into the generator and makes
// it use it at once: bytes that were read before tell nothing of those that are
// read after, even to a copy. Then it counts up contract.RestoreGenerationFile.
//
// To write the seed to /dev/urandom would not do: it would count from the next
// reseeding only, up to a minute later.
func (g *Generator) Reseed(seed []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.reseed(seed); err != nil {
		return err
	}
	g.reseeds.Add(1)
	return g.countUp()
}

// Reseeds is how often Reseed has reseeded the generator.
func (g *Generator) Reseeds() uint64 { return g.reseeds.Load() }

func (g *Generator) reseed(seed []byte) (err error) {
	if len(seed) < MinSeed {
		return fmt.Errorf("seed has %d bytes, want at least %d", len(seed), MinSeed)
	}
	device, err := os.OpenFile(g.Device, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open random number generator: %w", err)
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	// struct rand_pool_info of random(4): bits of entropy, bytes of data, data
	info := make([]byte, 0, 8+len(seed))
	defer func() { clear(info[:cap(info)]) }()
	info = binary.NativeEndian.AppendUint32(info, uint32(len(seed)*8))
	info = binary.NativeEndian.AppendUint32(info, uint32(len(seed)))
	info = append(info, seed...)
	if err := g.Ioctl(device.Fd(), unix.RNDADDENTROPY, info); err != nil {
		return fmt.Errorf("add entropy: %w", err)
	}
	if err := g.Ioctl(device.Fd(), unix.RNDRESEEDCRNG, nil); err != nil {
		return fmt.Errorf("reseed random number generator: %w", err)
	}
	return nil
}

func ioctl(fd uintptr, request uint, argument []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(argument))))
	if errno != 0 {
		return errno
	}
	return nil
}

// countUp writes the next generation. An agent that was started again goes on
// from the file, and one whose file is not its own from what it knows.
func (g *Generator) countUp() (err error) {
	root, err := inroot.Open(g.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	text, err := root.ReadFile(contract.RestoreGenerationFile, maxGeneration)
	if err == nil {
		if last, err := strconv.ParseUint(strings.TrimSuffix(string(text), "\n"), 10, 63); err == nil {
			g.generation = max(g.generation, last)
		}
	}
	g.generation++
	return root.ReplaceFile(contract.RestoreGenerationFile, fmt.Appendf(nil, "%d\n", g.generation), 0o644)
}
