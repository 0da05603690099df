// Package system resolves kernels and initrds for a host: it finds an artifact
// set and checks that its files are the ones that were built.
//
// It uses the standard library only.
package system

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/kindling-vm/kindling/system/bundle"
)

// Set is the part of an artifact set for one architecture, on this machine, with
// files that have been verified.
type Set struct {
	ID          string // sha256:HEX, of the whole set
	Arch        string // x86_64 or aarch64
	CommandLine string // the kernel's
	Base        string // path of the OCI layer that the initrd is made from; may be empty
	Initrd      string // path
	Kernel      string // path
}

// GetArch is this machine's architecture as kernels and paths name it: x86_64,
// aarch64, or Go's name of any other.
func GetArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return runtime.GOARCH
	}
}

// Open reads a manifest and verifies all files that it names for an
// architecture. The error of a file with other bytes is a *bundle.MismatchError.
func Open(manifest, arch string) (*Set, error) {
	set, err := open(manifest, arch)
	if err != nil {
		return nil, fmt.Errorf("open artifact set %s: %w", manifest, err)
	}
	return set, nil
}

func open(manifest, arch string) (*Set, error) {
	data, err := os.ReadFile(manifest)
	if err != nil {
		return nil, err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return nil, err
	}
	id, err := m.ID()
	if err != nil {
		return nil, err
	}
	a, ok := m.Architecture(arch)
	if !ok {
		return nil, fmt.Errorf("it has nothing for %s", arch)
	}
	dir := filepath.Dir(manifest)
	if err := a.Verify(os.DirFS(dir)); err != nil {
		return nil, err
	}
	path := func(kind bundle.Kind) string {
		file, ok := a.File(kind)
		if !ok {
			return ""
		}
		return filepath.Join(dir, filepath.FromSlash(file.Name))
	}
	return &Set{
		ID:          id,
		Arch:        arch,
		CommandLine: a.CommandLine,
		Base:        path(bundle.Base),
		Initrd:      path(bundle.Initrd),
		Kernel:      path(bundle.Kernel),
	}, nil
}
