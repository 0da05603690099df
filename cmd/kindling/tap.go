package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
)

// networkTap is a network of the host's; what the guest is in it comes behind.
const networkTap = "tap"

// tapForm is how --net says it.
const tapForm = "tap,ifname=NAME,ip=ADDRESS/BITS[,gateway=ADDRESS][,dns=ADDRESS][,mac=MAC]"

// tapNetwork is the guest's place in a network of the host's.
type tapNetwork struct {
	tap     vm.Tap
	address netip.Prefix
	gateway netip.Addr // not valid if there is none
	dns     netip.Addr // not valid if there is none
}

// parseNetwork is what --net says: nil for a network that is no tap device's.
func parseNetwork(text string) (*tapNetwork, error) {
	if text == networkUser || text == networkNone {
		return nil, nil
	}
	kind, options, _ := strings.Cut(text, ",")
	if kind != networkTap {
		return nil, fmt.Errorf("--net is %q, want user, none or %s", text, tapForm)
	}
	tap, err := parseTap(options)
	if err != nil {
		return nil, fmt.Errorf("--net is %q, %w", text, err)
	}
	return tap, nil
}

// findTap is the tap device that the guest gets, or nil. What is wrong with it is
// told before disks are written.
func (r *request) findTap() (*vm.Tap, error) {
	network, err := parseNetwork(r.Network)
	if err != nil || network == nil {
		return nil, err
	}
	return &network.tap, network.tap.Validate()
}

func parseTap(options string) (*tapNetwork, error) {
	values := map[string]string{}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if values[key] != "" || value == "" {
			return nil, fmt.Errorf("and has %q, want each option once: %s", option, tapForm)
		}
		values[key] = value
	}
	address, err := netip.ParsePrefix(values["ip"])
	if err != nil || !address.Addr().Is4() || address.Bits() == 0 {
		return nil, fmt.Errorf("and ip is %q, want an IPv4 address and the bits of its network, as 192.168.7.2/24", values["ip"])
	}
	t := &tapNetwork{tap: vm.Tap{Name: values["ifname"], MAC: macOf(address.Addr())}, address: address}
	if t.tap.Name == "" {
		return nil, fmt.Errorf("and names no device, want %s", tapForm)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := t.set(key, values[key]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// set takes an option. Those that others depend on are set already.
func (t *tapNetwork) set(key, value string) (err error) {
	switch key {
	case "ifname", "ip":
	case "gateway":
		t.gateway, err = netip.ParseAddr(value)
		if err != nil || !t.address.Contains(t.gateway) || t.gateway == t.address.Addr() {
			return fmt.Errorf("and gateway is %q, want another address in %s", value, t.address.Masked())
		}
	case "dns":
		if t.dns, err = netip.ParseAddr(value); err != nil || !t.dns.Is4() {
			return fmt.Errorf("and dns is %q, want an IPv4 address", value)
		}
	case "mac":
		if t.tap.MAC, err = net.ParseMAC(value); err != nil || len(t.tap.MAC) != 6 {
			return fmt.Errorf("and mac is %q, want six bytes, as 02:00:00:00:00:01", value)
		}
	default:
		return fmt.Errorf("and %s is not known, want %s", key, tapForm)
	}
	return nil
}

// macOf is a locally administered address (IEEE 802) that no other guest on a
// network has, as its IPv4 address is its own there.
func macOf(address netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0}, address.AsSlice()...)
}

// apply tells the guest what it is in the network.
func (t *tapNetwork) apply(config *contract.Config) {
	config.NetworkEnabled = true
	config.GuestIP, config.GuestCIDR = t.address.Addr().String(), t.address.Bits()
	if t.gateway.IsValid() {
		config.GuestGateway = t.gateway.String()
	}
	if t.dns.IsValid() {
		config.GuestDNS = t.dns.String()
	}
}
