// Package system gives a host the kernel and the initrd that it asks for, exactly:
// it takes artifact sets from a folder, an archive or a web server, installs and
// verifies them below a data directory, resolves them by their IDs and collects
// those that nobody needs.
//
// It builds nothing and starts no machine. It uses the standard library only, and
// logs nothing unless it is given a logger.
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
	ID            string        // sha256:HEX, of the whole set
	Arch          string        // x86_64 or aarch64
	AgentProtocol string        // that the agent in the initrd speaks
	CommandLine   string        // the kernel's
	KernelVersion KernelVersion // as the lock names it; else its release or digest

	Base    string // path of the OCI layer that the initrd is made from; may be empty
	Headers string // path; may be empty
	Initrd  string // path
	Kernel  string // path

	InitrdSHA256, KernelSHA256 string // 64 lower-case hexadecimal digits
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
		return nil, fmt.Errorf("%w: it has nothing for %s", bundle.ErrUnsupportedArch, arch)
	}
	dir := filepath.Dir(manifest)
	if err := a.Verify(os.DirFS(dir)); err != nil {
		return nil, err
	}
	var info *bundle.KernelDescription
	if file, ok := a.File(bundle.KernelInfo); ok {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file.Name)))
		if err != nil {
			return nil, err
		}
		if info, err = bundle.ParseKernelDescription(data); err != nil {
			return nil, err
		}
	}
	return newSet(id, m, a, info, func(file bundle.File) string {
		return filepath.Join(dir, filepath.FromSlash(file.Name))
	}), nil
}

// newSet describes verified files, each of which has a path.
func newSet(id string, m *bundle.Manifest, a *bundle.Architecture, info *bundle.KernelDescription, path func(bundle.File) string) *Set {
	set := &Set{ID: id, Arch: a.Arch, AgentProtocol: m.AgentProtocol, CommandLine: a.CommandLine}
	for _, file := range a.Files {
		switch file.Kind {
		case bundle.Base:
			set.Base = path(file)
		case bundle.Headers:
			set.Headers = path(file)
		case bundle.Initrd:
			set.Initrd, set.InitrdSHA256 = path(file), file.SHA256
		case bundle.Kernel:
			set.Kernel, set.KernelSHA256 = path(file), file.SHA256
			set.KernelVersion = kernelVersion(file, a.Arch, info)
		}
	}
	return set
}
