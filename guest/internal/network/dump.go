package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// maxDump holds a datagram of a list: the kernel fills no more than 32 KiB
	// (netlink_dump of net/netlink/af_netlink.c).
	maxDump = 32 << 10
	// maxDumps bounds how often a list is asked for that changes meanwhile.
	maxDumps = 10
)

// errInterrupted tells of a list that changed while it was told.
var errInterrupted = errors.New("list changed while it was read")

// dump lists what a kind of request (RTM_GET*) asks for of a family. Each is
// the struct of the kind, of the size, then attributes.
func (c *conn) dump(kind uint16, family byte, size int) ([][]byte, error) {
	for attempt := 1; ; attempt++ {
		list, err := c.dumpOnce(kind, family, size)
		if !errors.Is(err, errInterrupted) || attempt == maxDumps {
			return list, err
		}
	}
}

func (c *conn) dumpOnce(kind uint16, family byte, size int) ([][]byte, error) {
	body := make([]byte, size)
	body[0] = family
	if err := c.send(message{kind: kind, flags: unix.NLM_F_DUMP, body: body}); err != nil {
		return nil, err
	}
	var list [][]byte
	buffer := make([]byte, maxDump)
	for interrupted := false; ; {
		packet, err := c.receive(buffer)
		if err != nil {
			return nil, err
		}
		for len(packet) > 0 {
			answer, rest, err := split(packet)
			if err != nil {
				return nil, err
			}
			packet = rest
			if answer.sequence != c.sequence {
				continue
			}
			interrupted = interrupted || answer.flags&unix.NLM_F_DUMP_INTR != 0
			switch answer.kind {
			case unix.NLMSG_ERROR:
				return nil, result(answer.body, answer.flags)
			case unix.NLMSG_DONE:
				if len(answer.body) < 4 {
					return nil, errAnswer
				}
				if number := -int32(order32(answer.body)); number != 0 {
					return nil, unix.Errno(number)
				}
				if interrupted {
					return nil, errInterrupted
				}
				return list, nil
			}
			if len(answer.body) < size {
				return nil, errAnswer
			}
			// Of a family that it lacks, the kernel tells all others.
			if family == unix.AF_UNSPEC || answer.body[0] == family {
				list = append(list, slices.Clone(answer.body))
			}
		}
	}
}

// reply is one message of an answer.
type reply struct {
	kind, flags uint16
	sequence    uint32
	body        []byte
}

// split takes the first message off a datagram.
func split(packet []byte) (first reply, rest []byte, err error) {
	order := binary.NativeEndian
	if len(packet) < unix.SizeofNlMsghdr {
		return reply{}, nil, errAnswer
	}
	length := order.Uint32(packet)
	if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(packet)) {
		return reply{}, nil, errAnswer
	}
	first = reply{
		kind: order.Uint16(packet[4:]), flags: order.Uint16(packet[6:]), sequence: order.Uint32(packet[8:]),
		body: packet[unix.SizeofNlMsghdr:length],
	}
	return first, packet[min(align(int(length)), len(packet)):], nil
}

// attributes are those of a list's entry. It ends at one that is malformed.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= unix.SizeofRtAttr {
			length, kind := int(binary.NativeEndian.Uint16(data)), binary.NativeEndian.Uint16(data[2:])
			if length < unix.SizeofRtAttr || length > len(data) || !yield(kind, data[unix.SizeofRtAttr:length]) {
				return
			}
			data = data[min(align(length), len(data)):]
		}
	}
}

// attribute is the data of the first attribute of a kind, nil if there is none.
func attribute(data []byte, kind uint16) []byte {
	for found, value := range attributes(data) {
		if found == kind {
			return value
		}
	}
	return nil
}

// send sends a request under a new sequence number.
func (c *conn) send(m message) error {
	c.sequence++
	order := binary.NativeEndian
	packet := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(m.body)))
	packet = order.AppendUint16(packet, m.kind)
	packet = order.AppendUint16(packet, m.flags|unix.NLM_F_REQUEST)
	packet = order.AppendUint32(packet, c.sequence)
	packet = order.AppendUint32(packet, 0) // port: the kernel's
	packet = append(packet, m.body...)
	if err := unix.Sendto(c.socket, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink request: %w", err)
	}
	return nil
}

// receive waits for a datagram of the kernel's.
func (c *conn) receive(buffer []byte) ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.socket, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive netlink answer: %w", err)
		}
		// Any process may send to the socket; only the kernel is port 0.
		if kernel, ok := from.(*unix.SockaddrNetlink); ok && kernel.Pid == 0 {
			return buffer[:n], nil
		}
	}
}
