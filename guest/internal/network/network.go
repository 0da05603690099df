// Package network gives the guest its addresses and default routes. PID 1 calls
// Loopback on every boot and, when the config enables the network, fills a
// Config by Add and calls its Apply.
//
// It speaks rtnetlink(7) itself, a handful of messages: the usual library would
// make PID 1, which every guest loads, larger by a sixth. It is no manager: it
// sets up once and watches nothing, and names are etcfiles' matter.
package network

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Config is what one interface gets.
type Config struct {
	Interface string
	MTU       int // bytes; 0 leaves the interface its own
	addresses []netip.Prefix
	gateways  []netip.Addr
}

// Add adds an address of either family, its network's prefix length in bits
// (more than 0) and, unless it is empty, the gateway of the default route of
// that family. The gateway may be outside of the network: it is taken to be on
// the link. No address and no gateway is nothing to add.
func (c *Config) Add(ip string, prefixLength int, gateway string) error {
	if ip == "" && gateway == "" {
		return nil
	}
	address, err := parse(ip)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if prefixLength < 1 || prefixLength > address.BitLen() {
		return fmt.Errorf("prefix length %d of address %v is not from 1 to %d", prefixLength, address, address.BitLen())
	}
	if gateway != "" {
		via, err := parse(gateway)
		switch {
		case err != nil:
			return fmt.Errorf("parse gateway: %w", err)
		case via.Is4() != address.Is4():
			return fmt.Errorf("gateway %v is not of the family of address %v", via, address)
		}
		c.gateways = append(c.gateways, via)
	}
	c.addresses = append(c.addresses, netip.PrefixFrom(address, prefixLength))
	return nil
}

// parse accepts what can be the address of one host.
func parse(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, err
	case addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%v is not the address of a host", addr)
	}
	return addr, nil
}

// Loopback brings lo up; the kernel then gives it 127.0.0.1 and ::1.
func Loopback() (err error) {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.close()) }()
	index, err := conn.index("lo")
	if err != nil {
		return err
	}
	return conn.up(index, "lo", 0)
}

// Apply adds the addresses, brings the interface up and sets the default
// routes. What is so already stays. It does all it can: a family that the
// kernel lacks does not keep the other from working.
func (c *Config) Apply() (err error) {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.close()) }()
	index, err := conn.index(c.Interface)
	if err != nil {
		return err
	}
	var problems []error
	for _, address := range c.addresses {
		if err := conn.request(addressMessage(index, address)); err != nil {
			problems = append(problems, fmt.Errorf("add address %v to %s: %w", address, c.Interface, err))
		}
	}
	// Without a link no route can be added.
	if err := conn.up(index, c.Interface, c.MTU); err != nil {
		return errors.Join(append(problems, err)...)
	}
	for _, gateway := range c.gateways {
		if err := conn.request(defaultRouteMessage(index, gateway)); err != nil {
			problems = append(problems, fmt.Errorf("set default route by %v: %w", gateway, err))
		}
	}
	return errors.Join(problems...)
}

func (c *conn) up(index uint32, name string, mtu int) error {
	if mtu < 0 || mtu > math.MaxInt32 {
		return fmt.Errorf("bring up %s: MTU %d is none", name, mtu)
	}
	if err := c.request(linkUpMessage(index, uint32(mtu))); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// index gives the number of an interface.
func (c *conn) index(name string) (uint32, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("name of interface %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(c.socket, unix.SIOCGIFINDEX, request); err != nil {
		return 0, fmt.Errorf("find interface %s: %w", name, err)
	}
	return request.Uint32(), nil
}
