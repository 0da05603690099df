package network

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Change is another identity for an interface that is set up. What has its zero
// value stays as it is.
type Change struct {
	Interface string
	mac       [6]byte
	address   netip.Prefix
	gateway   netip.Addr
}

// SetMAC sets the hardware address, six hexadecimal numbers with colons between
// them. That of a group is refused.
func (c *Change) SetMAC(text string) error {
	var mac [6]byte
	numbers := strings.Split(text, ":")
	valid := len(numbers) == len(mac)
	for i := 0; valid && i < len(mac); i++ {
		// Of two digits each.
		n, err := hex.Decode(mac[i:], []byte(numbers[i])[:min(len(numbers[i]), 2)])
		valid = err == nil && n == 1 && len(numbers[i]) == 2
	}
	const group = 1 // IEEE 802, bit I/G of the first octet
	if !valid || mac[0]&group != 0 || mac == [6]byte{} {
		return fmt.Errorf("hardware address %.32q is not that of one interface", text)
	}
	c.mac = mac
	return nil
}

// SetAddress sets the IPv4 address, which replaces all others, and its network's
// prefix length in bits, more than 0.
func (c *Change) SetAddress(ip string, prefixLength int) error {
	address, err := parse4(ip)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if prefixLength < 1 || prefixLength > address.BitLen() {
		return fmt.Errorf("prefix length %d of address %v is not from 1 to %d", prefixLength, address, address.BitLen())
	}
	c.address = netip.PrefixFrom(address, prefixLength)
	return nil
}

// SetGateway sets the gateway of the IPv4 default route, which is taken to be on
// the link.
func (c *Change) SetGateway(ip string) error {
	gateway, err := parse4(ip)
	if err != nil {
		return fmt.Errorf("parse gateway: %w", err)
	}
	c.gateway = gateway
	return nil
}

func parse4(text string) (netip.Addr, error) {
	addr, err := parse(text)
	if err == nil && !addr.Is4() {
		err = fmt.Errorf("%v is not an IPv4 address", addr)
	}
	return addr, err
}

// Apply changes the interface, in the order that the hypeman agent protocol has,
// and brings it up. It stops at the first failure, and may be called again.
//
// The kernel forgets routes and IPv6 addresses of an interface that is down.
// They are put back, but for the IPv4 routes of an address that goes: of those
// only a default route is left.
func (c *Change) Apply() (err error) {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.close()) }()
	index, err := conn.index(c.Interface)
	if err != nil {
		return err
	}
	if err := conn.change(index, c); err != nil {
		return fmt.Errorf("change %s: %w", c.Interface, err)
	}
	return nil
}

func (c *conn) change(index uint32, change *Change) error {
	lost, err := c.lostWhenDown(index, change)
	if err != nil {
		return err
	}
	if err := c.request(linkMessage(index, 0)); err != nil {
		return fmt.Errorf("bring down: %w", err)
	}
	if change.mac != [6]byte{} {
		if err := c.request(hardwareAddressMessage(index, change.mac)); err != nil {
			return fmt.Errorf("set hardware address: %w", err)
		}
	}
	if change.address.IsValid() {
		if err := c.flushAddresses(index); err != nil {
			return err
		}
		if err := c.request(addressMessage(index, change.address)); err != nil {
			return fmt.Errorf("add address %v: %w", change.address, err)
		}
	}
	if err := c.request(linkMessage(index, unix.IFF_UP)); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	if change.gateway.IsValid() {
		if err := c.request(defaultRouteMessage(index, change.gateway)); err != nil {
			return fmt.Errorf("set default route by %v: %w", change.gateway, err)
		}
	}
	for _, message := range lost {
		if err := c.request(message); err != nil {
			return fmt.Errorf("put back what it had while up: %w", err)
		}
	}
	return c.flushNeighbours(index)
}

// lostWhenDown is what to ask the kernel for again once the interface is back
// up: permanent IPv6 addresses, then routes that neither the kernel makes itself
// nor a router does.
func (c *conn) lostWhenDown(index uint32, change *Change) ([]message, error) {
	var lost []message
	addresses, err := c.dump(unix.RTM_GETADDR, unix.AF_INET6, unix.SizeofIfAddrmsg)
	if err != nil {
		return nil, fmt.Errorf("list IPv6 addresses: %w", err)
	}
	for _, body := range addresses {
		// struct ifaddrmsg: family, prefix length, flags, scope, index
		if order32(body[4:]) != index || body[2]&unix.IFA_F_PERMANENT == 0 || body[3] != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		address, ok := netip.AddrFromSlice(attribute(body[unix.SizeofIfAddrmsg:], unix.IFA_ADDRESS))
		if !ok {
			return nil, errAnswer
		}
		lost = append(lost, addressMessage(index, netip.PrefixFrom(address, int(body[1]))))
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		routes, err := c.dump(unix.RTM_GETROUTE, family, unix.SizeofRtMsg)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, body := range routes {
			if isLost(body, index, change) {
				lost = append(lost, routeAgainMessage(body, change))
			}
		}
	}
	return lost, nil
}

// isLost tells whether a struct rtmsg is of a route to put back.
func isLost(body []byte, index uint32, change *Change) bool {
	family, length, table, origin, kind := body[0], body[1], body[4], body[5], body[7]
	out := attribute(body[unix.SizeofRtMsg:], unix.RTA_OIF)
	made := origin == unix.RTPROT_KERNEL || origin == unix.RTPROT_RA || origin == unix.RTPROT_REDIRECT
	if table != unix.RT_TABLE_MAIN || kind != unix.RTN_UNICAST || made || len(out) != 4 || order32(out) != index {
		return false
	}
	if family == unix.AF_INET6 {
		return true
	}
	if length == 0 {
		return !change.gateway.IsValid()
	}
	return !change.address.IsValid()
}

// routeAgainMessage asks for a route that was listed. Its gateway is taken to be
// on the link, also of another address, and its source is left to the kernel
// where the address is another.
func routeAgainMessage(body []byte, change *Change) message {
	again := slices.Clone(body[:unix.SizeofRtMsg])
	flags := uint32(0)
	if attribute(body[unix.SizeofRtMsg:], unix.RTA_GATEWAY) != nil {
		flags = unix.RTNH_F_ONLINK
	}
	binary.NativeEndian.PutUint32(again[8:], flags)
	for kind, data := range attributes(body[unix.SizeofRtMsg:]) {
		if kind == unix.RTA_CACHEINFO || kind == unix.RTA_PREFSRC && body[0] == unix.AF_INET && change.address.IsValid() {
			continue
		}
		again = appendAttribute(again, kind, append(slices.Clone(data), make([]byte, align(len(data))-len(data))...))
	}
	return message{kind: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, body: again}
}

// flushAddresses removes all IPv4 addresses.
func (c *conn) flushAddresses(index uint32) error {
	addresses, err := c.dump(unix.RTM_GETADDR, unix.AF_INET, unix.SizeofIfAddrmsg)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	// With the first of a network its others go, so they go before it.
	for _, body := range slices.Backward(addresses) {
		if order32(body[4:]) != index {
			continue
		}
		if err := c.request(message{kind: unix.RTM_DELADDR, body: body}); err != nil {
			return fmt.Errorf("remove address: %w", err)
		}
	}
	return nil
}

// flushNeighbours removes what the interface knows of its neighbours, of both
// families.
func (c *conn) flushNeighbours(index uint32) error {
	neighbours, err := c.dump(unix.RTM_GETNEIGH, unix.AF_UNSPEC, unix.SizeofNdMsg)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, body := range neighbours {
		// struct ndmsg: family, padding, index, state, flags, type. The kernel makes
		// those without a state and those that are not asked for.
		const kept = unix.NUD_NOARP | unix.NUD_PERMANENT
		state := binary.NativeEndian.Uint16(body[8:])
		if order32(body[4:]) != index || state == unix.NUD_NONE || state&kept != 0 {
			continue
		}
		// One may go by itself meanwhile.
		if err := c.request(message{kind: unix.RTM_DELNEIGH, body: body}); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove neighbour: %w", err)
		}
	}
	return nil
}

// linkMessage is struct ifinfomsg with only IFF_UP to change.
func linkMessage(index, flags uint32) message {
	order := binary.NativeEndian
	body := order.AppendUint32(nil, unix.AF_UNSPEC)
	body = order.AppendUint32(body, index)
	body = order.AppendUint32(body, flags)
	body = order.AppendUint32(body, unix.IFF_UP)
	return message{kind: unix.RTM_NEWLINK, body: body}
}

// hardwareAddressMessage is struct ifinfomsg with no flag to change.
func hardwareAddressMessage(index uint32, mac [6]byte) message {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], index)
	// Padded as appendAttribute needs it, the kernel takes the first six bytes.
	body = appendAttribute(body, unix.IFLA_ADDRESS, append(mac[:], 0, 0))
	return message{kind: unix.RTM_NEWLINK, body: body}
}

func order32(data []byte) uint32 { return binary.NativeEndian.Uint32(data) }
