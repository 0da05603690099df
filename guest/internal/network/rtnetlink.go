package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for the kernel's answer, which it gives before
// the request's system call returns.
const answerTimeout = 2 * time.Second

// maxAnswer holds an acknowledgement: they carry no more than the request's
// header, a text and an attribute's place.
const maxAnswer = 4096

// errAnswer is an answer of another form than netlink(7) has.
var errAnswer = errors.New("malformed netlink answer")

// conn is an rtnetlink socket.
type conn struct {
	socket   int
	sequence uint32
}

func dial() (*conn, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	for _, err := range []error{
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		// Errors come with a text, and without a copy of the request.
		unix.SetsockoptInt(socket, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(socket, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
	} {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("set up rtnetlink socket: %w", err), unix.Close(socket))
		}
	}
	return &conn{socket: socket}, nil
}

func (c *conn) close() error {
	if err := unix.Close(c.socket); err != nil {
		return fmt.Errorf("close rtnetlink socket: %w", err)
	}
	return nil
}

// message is a request without the header's length and sequence number.
type message struct {
	kind  uint16 // RTM_*
	flags uint16 // NLM_F_*, beside the request's and the acknowledgement's
	body  []byte // struct of the kind, then attributes
}

// request sends a message and waits for its acknowledgement. An error is the
// kernel's number with its text, where it gives one.
func (c *conn) request(m message) error {
	m.flags |= unix.NLM_F_ACK
	if err := c.send(m); err != nil {
		return err
	}
	buffer := make([]byte, maxAnswer)
	for {
		packet, err := c.receive(buffer)
		if err != nil {
			return err
		}
		if found, err := acknowledgement(packet, c.sequence); found || err != nil {
			return err
		}
	}
}

// acknowledgement looks for the answer to a request in a datagram.
func acknowledgement(packet []byte, sequence uint32) (found bool, err error) {
	for len(packet) > 0 {
		answer, rest, err := split(packet)
		if err != nil {
			return false, err
		}
		if answer.kind == unix.NLMSG_ERROR && answer.sequence == sequence {
			return true, result(answer.body, answer.flags)
		}
		packet = rest
	}
	return false, nil
}

// result reads struct nlmsgerr: the negative error number or 0, the header of
// the request, and attributes where the flags say so.
func result(body []byte, flags uint16) error {
	if len(body) < 4+unix.SizeofNlMsghdr {
		return errAnswer
	}
	number := -int32(binary.NativeEndian.Uint32(body))
	if number == 0 {
		return nil
	}
	err := error(unix.Errno(number))
	if flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	for attributes := body[4+unix.SizeofNlMsghdr:]; len(attributes) >= unix.SizeofNlAttr; {
		length, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])
		if length < unix.SizeofNlAttr || length > len(attributes) {
			return errors.Join(err, errAnswer)
		}
		if kind == unix.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%s: %w", unix.ByteSliceToString(attributes[unix.SizeofNlAttr:length]), err)
		}
		attributes = attributes[min(align(length), len(attributes)):]
	}
	return err
}

// align rounds up to NLMSG_ALIGNTO, which is RTA_ALIGNTO as well.
func align(length int) int { return (length + 3) &^ 3 }

// linkUpMessage is struct ifinfomsg with only IFF_UP to change, and the MTU
// unless it is 0.
func linkUpMessage(index, mtu uint32) message {
	order := binary.NativeEndian
	body := order.AppendUint32(nil, unix.AF_UNSPEC) // family, padding, device type
	body = order.AppendUint32(body, index)
	body = order.AppendUint32(body, unix.IFF_UP) // flags
	body = order.AppendUint32(body, unix.IFF_UP) // those that change
	if mtu != 0 {
		body = appendAttribute(body, unix.IFLA_MTU, order.AppendUint32(nil, mtu))
	}
	return message{kind: unix.RTM_NEWLINK, body: body}
}

// addressMessage is struct ifaddrmsg. An IPv6 address is usable at once: the
// host gives each guest its own, so nothing is to be found out by asking the
// link, which takes a second.
func addressMessage(index uint32, address netip.Prefix) message {
	var flags byte
	if address.Addr().Is6() {
		flags = unix.IFA_F_NODAD
	}
	body := []byte{family(address.Addr()), byte(address.Bits()), flags, unix.RT_SCOPE_UNIVERSE}
	body = binary.NativeEndian.AppendUint32(body, index)
	body = appendAttribute(body, unix.IFA_LOCAL, address.Addr().AsSlice())
	body = appendAttribute(body, unix.IFA_ADDRESS, address.Addr().AsSlice())
	return message{kind: unix.RTM_NEWADDR, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, body: body}
}

// defaultRouteMessage is struct rtmsg for 0.0.0.0/0 or ::/0.
func defaultRouteMessage(index uint32, gateway netip.Addr) message {
	body := []byte{family(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}
	body = binary.NativeEndian.AppendUint32(body, unix.RTNH_F_ONLINK)
	body = appendAttribute(body, unix.RTA_GATEWAY, gateway.AsSlice())
	body = appendAttribute(body, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, index))
	return message{kind: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, body: body}
}

func family(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// appendAttribute appends struct rtattr, whose data is of 4 bytes times n.
func appendAttribute(body []byte, kind uint16, data []byte) []byte {
	body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+len(data)))
	body = binary.NativeEndian.AppendUint16(body, kind)
	return append(body, data...)
}
