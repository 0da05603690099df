// Package etcfiles writes the files of the image that say who the machine is
// and whom it asks for names: /etc/resolv.conf, /etc/hostname and /etc/hosts.
// PID 1 calls it before the image becomes the root, and the agent after a
// restore; every path is resolved inside the image, and what the image has in a
// file's place is replaced.
//
// It is not a resolver and does not look whether a server answers.
package etcfiles

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

const (
	resolvConf   = "/etc/resolv.conf"
	hostnameFile = "/etc/hostname"
	hostsFile    = "/etc/hosts"
)

// maxHosts bounds what is kept of the image's /etc/hosts, in bytes.
const maxHosts = 1 << 20

// WriteResolvConf makes the servers, IPv4 or IPv6, those of /etc/resolv.conf in
// their order. Empty ones are left out, and without any the image keeps its
// file. One that is no address is an error; the others are written all the same.
func WriteResolvConf(root *inroot.Root, servers []string) error {
	var content strings.Builder
	var problems []error
	for _, server := range servers {
		if server == "" {
			continue
		}
		addr, err := netip.ParseAddr(server)
		if err != nil {
			problems = append(problems, fmt.Errorf("parse name server: %w", err))
			continue
		}
		fmt.Fprintf(&content, "nameserver %v\n", addr)
	}
	if content.Len() > 0 {
		problems = append(problems, root.ReplaceFile(resolvConf, []byte(content.String()), 0o644))
	}
	return errors.Join(problems...)
}

// SetHostname gives the kernel and /etc/hostname the name, and /etc/hosts a
// line that leads from it to the address: any name that a program asks for as
// its own must be found. An empty name does nothing; an empty address is that
// of a loopback.
func SetHostname(root *inroot.Root, name, address string) error {
	if name == "" {
		return nil
	}
	if err := checkHostname(name); err != nil {
		return err
	}
	addr := netip.AddrFrom4([4]byte{127, 0, 1, 1}) // Debian's for a name without an address
	if address != "" {
		var err error
		if addr, err = netip.ParseAddr(address); err != nil {
			return fmt.Errorf("parse address of %s: %w", name, err)
		}
	}
	// The files are written when the kernel refuses, and the other way round.
	problems := []error{root.ReplaceFile(hostnameFile, []byte(name+"\n"), 0o644)}
	old, err := root.ReadFile(hostsFile, maxHosts)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		// A link to nowhere or a device: nothing there to keep.
		problems = append(problems, err)
	}
	problems = append(problems, root.ReplaceFile(hostsFile, hosts(old, name, addr), 0o644))
	if err := unix.Sethostname([]byte(name)); err != nil {
		problems = append(problems, fmt.Errorf("set host name: %w", err))
	}
	return errors.Join(problems...)
}

// checkHostname accepts what RFC 1123 section 2.1 does, up to the kernel's
// __NEW_UTS_LEN bytes.
func checkHostname(name string) error {
	const maxName, maxLabel = 64, 63
	valid := len(name) <= maxName
	for label := range strings.SplitSeq(name, ".") {
		valid = valid && label != "" && len(label) <= maxLabel && !strings.HasPrefix(label, "-") && !strings.HasSuffix(label, "-")
	}
	for _, char := range name {
		letter := 'a' <= char|0x20 && char|0x20 <= 'z'
		valid = valid && (letter || '0' <= char && char <= '9' || char == '-' || char == '.')
	}
	if !valid {
		return fmt.Errorf("host name %.80q is none of up to %d letters, digits, dots and inner hyphens", name, maxName)
	}
	return nil
}

// ours marks the lines of /etc/hosts that are written anew on each boot: the
// file is kept over a stop, its address need not be.
const ours = "\t# set at boot"

// hosts is the old file with all its lines but ours, with lines for localhost
// unless it has some, and with a line for the name.
func hosts(old []byte, name string, addr netip.Addr) []byte {
	var kept, added strings.Builder
	loopback := map[string]bool{}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasSuffix(line, ours) {
			continue
		}
		kept.WriteString(line + "\n")
		entry, _, _ := strings.Cut(line, "#")
		if fields := strings.Fields(entry); len(fields) > 1 {
			loopback[fields[0]] = true
		}
	}
	for _, entry := range []struct{ addr, names string }{
		{"127.0.0.1", "localhost"},
		{"::1", "localhost ip6-localhost ip6-loopback"},
	} {
		if !loopback[entry.addr] {
			added.WriteString(entry.addr + "\t" + entry.names + ours + "\n")
		}
	}
	names := name
	if short, _, isLong := strings.Cut(name, "."); isLong {
		names += " " + short
	}
	// The first line that has a name counts.
	return []byte(addr.String() + "\t" + names + ours + "\n" + added.String() + kept.String())
}
