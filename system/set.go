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

// Set is an artifact set on this machine whose files have been verified.
type Set struct {
	Arch   string // x86_64
	Base   string // path of the OCI layer that the initrd is made from
	Initrd string // path
	Kernel string // path
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

// Open reads a manifest and verifies all files that it names, which lie beside
// it. The error of a file with other bytes is a *bundle.MismatchError.
func Open(manifest string) (*Set, error) {
	set, err := open(manifest)
	if err != nil {
		return nil, fmt.Errorf("open artifact set %s: %w", manifest, err)
	}
	return set, nil
}

func open(manifest string) (*Set, error) {
	data, err := os.ReadFile(manifest)
	if err != nil {
		return nil, err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(manifest)
	if err := m.Verify(os.DirFS(dir)); err != nil {
		return nil, err
	}
	return &Set{
		Arch:   m.Arch,
		Base:   filepath.Join(dir, m.File(bundle.Base).Name),
		Initrd: filepath.Join(dir, m.File(bundle.Initrd).Name),
		Kernel: filepath.Join(dir, m.File(bundle.Kernel).Name),
	}, nil
}
