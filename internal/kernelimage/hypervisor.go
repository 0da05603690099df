package kernelimage

import (
	"errors"
	"fmt"
)

// Hypervisor is a program that loads kernels.
type Hypervisor string

const (
	CloudHypervisor Hypervisor = "cloud-hypervisor"
	QEMU            Hypervisor = "qemu"
)

var hypervisors = []Hypervisor{CloudHypervisor, QEMU}

// Hypervisors are those that load the kernel directly on a machine of its own
// architecture.
func (i *Info) Hypervisors() []Hypervisor {
	var loading []Hypervisor
	for _, hypervisor := range hypervisors {
		if i.CheckLoadable(hypervisor, i.Arch) == nil {
			loading = append(loading, hypervisor)
		}
	}
	return loading
}

// CheckLoadable says why a hypervisor, without firmware, cannot load the kernel
// on a machine of the architecture.
//
// It knows what all releases of a hypervisor in use do: Cloud Hypervisor takes a
// bzImage only since 2024, and boots not all of them; QEMU takes a zboot file
// only since 8.1.
func (i *Info) CheckLoadable(by Hypervisor, arch string) error {
	if i.Arch != arch {
		return fmt.Errorf("kernel is for %s, want %s", i.Arch, arch)
	}
	takes := false
	switch i.Format {
	case ELF:
		takes = i.Arch == "x86_64"
		if takes && !i.PVH {
			return errors.New("kernel has no PVH note (owner Xen, type 18): it cannot be booted as an ELF file")
		}
	case Image:
		takes = true
	case BzImage, ImageGzip:
		takes = by == QEMU
	}
	if !takes {
		return fmt.Errorf("kernel is of format %s, which %s does not load on %s", i.Format, by, arch)
	}
	return nil
}
