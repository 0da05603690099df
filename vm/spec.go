package vm

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Spec says what machine to start.
type Spec struct {
	// Dir is an existing folder of this machine alone, for its sockets. Its path
	// has at most MaxDirLength bytes.
	Dir     string
	Arch    string // x86_64 or aarch64
	Kernel  string // path of an uncompressed kernel: ELF for x86_64, Image for aarch64
	Initrd  string // path
	Cmdline string // kernel command line

	MemoryMiB int
	CPUs      int
	Disks     []Disk // /dev/vda, /dev/vdb and so on, in this order
	CID       uint32 // vsock context ID of the guest, at least 3
	// UserNetwork gives the guest an interface to what this process can reach,
	// without privileges: it is 10.0.2.15/24, its gateway 10.0.2.2, its DNS
	// server 10.0.2.3.
	UserNetwork bool
	// Forwards give the guest connections to ports of the host. They need
	// UserNetwork.
	Forwards []Forward
	// Tap gives the guest an interface to a network of the host's. It excludes
	// UserNetwork.
	Tap *Tap

	// Serial gets all that the guest writes to its serial port. After an error it
	// gets no more, and the machine runs on.
	Serial io.Writer
}

// Disk is a raw disk image.
type Disk struct {
	Path     string
	ReadOnly bool
}

// Forward gives the guest's TCP port what connects to an address of the host.
type Forward struct {
	Host  netip.AddrPort // IPv4
	Guest uint16
}

// Tap is a tap device of the host that exists and is up, and that this user may
// use.
type Tap struct {
	Name string
	MAC  net.HardwareAddr // of the guest's end
}

// MaxDirLength leaves room for a name behind Spec.Dir, and for a port behind
// that: a Unix socket's address has 107 bytes.
const MaxDirLength = 80

// maxInterfaceName is IFNAMSIZ of include/uapi/linux/if.h without the NUL.
const maxInterfaceName = 15

const firstGuestCID = 3 // 0 to 2 are any, local and host: include/uapi/linux/vm_sockets.h

// Validate names the first thing that no launcher could start.
func (s *Spec) Validate() error {
	switch {
	case len(s.Dir) > MaxDirLength:
		return fmt.Errorf("folder %q has a path of %d bytes, want at most %d", s.Dir, len(s.Dir), MaxDirLength)
	case s.MemoryMiB < 1:
		return fmt.Errorf("memory is %d MiB, want at least 1", s.MemoryMiB)
	case s.CPUs < 1:
		return fmt.Errorf("CPUs are %d, want at least 1", s.CPUs)
	case s.CID < firstGuestCID:
		return fmt.Errorf("vsock CID is %d, want at least %d", s.CID, firstGuestCID)
	case s.Serial == nil:
		return fmt.Errorf("serial output goes nowhere")
	case len(s.Forwards) > 0 && !s.UserNetwork:
		return fmt.Errorf("ports are forwarded, but there is no user network")
	case s.Tap != nil && s.UserNetwork:
		return fmt.Errorf("there are a tap device and a user network, want one of them")
	}
	if s.Tap != nil {
		if err := s.Tap.Validate(); err != nil {
			return err
		}
	}
	for _, forward := range s.Forwards {
		if !forward.Host.Addr().Is4() || forward.Host.Port() == 0 || forward.Guest == 0 {
			return fmt.Errorf("forward of %v to port %d, want an IPv4 address and ports from 1 on", forward.Host, forward.Guest)
		}
	}
	if info, err := os.Stat(s.Dir); err != nil {
		return fmt.Errorf("look at folder: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("%q is not a folder", s.Dir)
	}
	files := []string{s.Kernel, s.Initrd}
	for _, disk := range s.Disks {
		files = append(files, disk.Path)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil {
			return fmt.Errorf("look at file: %w", err)
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%q is not a regular file", name)
		}
	}
	return nil
}

// Validate also finds the device: where there is none and QEMU may, it makes one.
func (t *Tap) Validate() error {
	const group = 1 // bit of the first byte (IEEE 802)
	// The rest is what net/core/dev.c's dev_valid_name takes, and no separator of
	// a hypervisor's options.
	if t.Name == "" || len(t.Name) > maxInterfaceName || strings.ContainsAny(t.Name, "/:,= \t\n\"[]") {
		return fmt.Errorf("tap device is called %q, want 1 to %d characters without separators", t.Name, maxInterfaceName)
	}
	if len(t.MAC) != 6 || t.MAC[0]&group != 0 {
		return fmt.Errorf("MAC address is %q, want 6 bytes, and none of a group", t.MAC)
	}
	if _, err := net.InterfaceByName(t.Name); err != nil {
		return fmt.Errorf("find tap device %s: %w", t.Name, err)
	}
	return nil
}
