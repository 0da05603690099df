package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
)

// Networks of a machine.
const (
	networkUser = "user"
	networkNone = "none"
)

// setUserNetwork tells the guest what QEMU's user network expects of it, see
// vm.Spec.UserNetwork.
func setUserNetwork(config *contract.Config) {
	config.NetworkEnabled = true
	config.GuestIP, config.GuestCIDR = "10.0.2.15", 24
	config.GuestGateway, config.GuestDNS = "10.0.2.2", "10.0.2.3"
}

// parsePublish is what -p says. Each address and port of the host can be
// published once.
func parsePublish(texts []string) ([]vm.Forward, error) {
	var forwards []vm.Forward
	for i, text := range texts {
		forward, err := parseForward(text)
		if err != nil {
			return nil, fmt.Errorf("--publish is %q, %w", text, err)
		}
		for j, other := range forwards {
			same := other.Host.Addr() == forward.Host.Addr() ||
				other.Host.Addr().IsUnspecified() || forward.Host.Addr().IsUnspecified()
			if same && other.Host.Port() == forward.Host.Port() {
				return nil, fmt.Errorf("--publish has port %d of the host twice: %q and %q", forward.Host.Port(), texts[j], texts[i])
			}
		}
		forwards = append(forwards, forward)
	}
	return forwards, nil
}

func parseForward(text string) (vm.Forward, error) {
	ports, protocol, found := strings.Cut(text, "/")
	if found && protocol != "tcp" {
		return vm.Forward{}, fmt.Errorf("and %q is not known, want tcp", protocol)
	}
	fields := strings.Split(ports, ":")
	address := "127.0.0.1"
	switch len(fields) {
	case 2:
	case 3:
		address, fields = fields[0], fields[1:]
	default:
		return vm.Forward{}, errors.New("want [ADDRESS:]HOST:GUEST[/tcp] with an IPv4 address")
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is4() {
		return vm.Forward{}, fmt.Errorf("and %q is no IPv4 address", address)
	}
	var numbers [2]uint16
	for i, field := range fields {
		number, err := strconv.ParseUint(field, 10, 16)
		if err != nil || number == 0 {
			return vm.Forward{}, fmt.Errorf("and %q is no port, want 1 to 65535", field)
		}
		numbers[i] = uint16(number)
	}
	return vm.Forward{Host: netip.AddrPortFrom(ip, numbers[0]), Guest: numbers[1]}, nil
}

// checkFree checks that the hypervisor will be able to listen. It would fail as
// well, but with less to go by.
func checkFree(forwards []vm.Forward) error {
	for _, forward := range forwards {
		listener, err := net.Listen("tcp4", forward.Host.String())
		if err != nil {
			return fmt.Errorf("publish port %d of the guest: %w", forward.Guest, err)
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("publish port %d of the guest: %w", forward.Guest, err)
		}
	}
	return nil
}
