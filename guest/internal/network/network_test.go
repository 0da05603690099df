package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// makePair makes two interfaces that are the ends of one cable, and brings the
// second up.
func makePair(t *testing.T, name, peer string) {
	t.Helper()
	// IFLA_LINKINFO{IFLA_INFO_KIND, IFLA_INFO_DATA{VETH_INFO_PEER{ifinfomsg, IFLA_IFNAME}}}
	const vethInfoPeer = 1
	attribute := func(kind uint16, data []byte) []byte {
		padded := append(data, make([]byte, align(len(data))-len(data))...)
		return appendAttribute(nil, kind, padded)
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	other := attribute(vethInfoPeer, append(append([]byte{}, header...), attribute(unix.IFLA_IFNAME, append([]byte(peer), 0))...))
	info := append(attribute(unix.IFLA_INFO_KIND, []byte("veth")), attribute(unix.IFLA_INFO_DATA, other)...)
	body := append(append([]byte{}, header...), attribute(unix.IFLA_IFNAME, append([]byte(name), 0))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, info)...)
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.request(message{kind: unix.RTM_NEWLINK, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: body}); err != nil {
		t.Fatal(err)
	}
	index, err := conn.index(peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.up(index, peer, 0); err != nil {
		t.Fatal(err)
	}
	if err := conn.close(); err != nil {
		t.Fatal(err)
	}
}

// addresses lists those of an interface but for the link-local ones.
func addresses(t *testing.T, name string) []string {
	t.Helper()
	device, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if device.Flags&net.FlagUp == 0 {
		t.Errorf("%s is down", name)
	}
	list, err := device.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, address := range list {
		if prefix := netip.MustParsePrefix(address.String()); !prefix.Addr().IsLinkLocalUnicast() {
			got = append(got, prefix.String())
		}
	}
	return got
}

// defaultRoutes lists "interface gateway" of both families.
func defaultRoutes(t *testing.T) []string {
	t.Helper()
	var got []string
	for _, file := range []string{"/proc/self/net/route", "/proc/self/net/ipv6_route"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			switch {
			case len(fields) == 11 && fields[1] == "00000000":
				var ip uint32
				if _, err := fmt.Sscanf(fields[2], "%x", &ip); err != nil {
					t.Fatal(err)
				}
				gateway, _ := netip.AddrFromSlice(binary.NativeEndian.AppendUint32(nil, ip))
				got = append(got, fields[0]+" "+gateway.String())
			case len(fields) == 10 && fields[0] == strings.Repeat("0", 32) && fields[1] == "00" && fields[9] != "lo":
				var ip []byte
				if _, err := fmt.Sscanf(fields[4], "%x", &ip); err != nil {
					t.Fatal(err)
				}
				gateway, _ := netip.AddrFromSlice(ip)
				got = append(got, fields[9]+" "+gateway.String())
			}
		}
	}
	return got
}

func TestLoopback(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	for range 2 {
		if err := Loopback(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"127.0.0.1/8", "::1/128"}, addresses(t, "lo")); diff != "" {
		t.Errorf("addresses of lo (-want +got):\n%s", diff)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestApply(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	makePair(t, "eth0", "host0")
	config := Config{Interface: "eth0"}
	for _, err := range []error{
		config.Add("10.100.3.7", 16, "10.100.0.1"),
		config.Add("fd00:12::7", 64, "fd00:12::1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The second time is for a PID 1 that is not the first to set up.
	for range 2 {
		if err := config.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"10.100.3.7/16", "fd00:12::7/64"}, addresses(t, "eth0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eth0 10.100.0.1", "eth0 fd00:12::1"}, defaultRoutes(t)); diff != "" {
		t.Errorf("default routes (-want +got):\n%s", diff)
	}
	// An address that is still being asked for (tentative) cannot be bound.
	listener, err := net.Listen("tcp6", "[fd00:12::7]:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}

func TestApplyGatewayOutsideOfTheNetwork(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	makePair(t, "eth0", "host0")
	config := Config{Interface: "eth0"}
	if err := config.Add("192.0.2.9", 32, "169.254.1.1"); err != nil {
		t.Fatal(err)
	}
	if err := config.Apply(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"eth0 169.254.1.1"}, defaultRoutes(t)); diff != "" {
		t.Errorf("default routes (-want +got):\n%s", diff)
	}
}

// TestApplyGoesOn checks that one family's failure leaves the other usable.
func TestApplyGoesOn(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	makePair(t, "eth0", "host0")
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	config := Config{Interface: "eth0"}
	for _, err := range []error{
		config.Add("fd00:12::7", 64, ""),
		config.Add("10.100.3.7", 16, "10.100.0.1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := config.Apply()
	if err == nil || !strings.Contains(err.Error(), "add address fd00:12::7/64 to eth0: ") || !errors.Is(err, unix.EACCES) {
		t.Errorf("got error %v, want one of the IPv6 address", err)
	}
	if diff := cmp.Diff([]string{"10.100.3.7/16"}, addresses(t, "eth0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eth0 10.100.0.1"}, defaultRoutes(t)); diff != "" {
		t.Errorf("default routes (-want +got):\n%s", diff)
	}
}

func TestApplyMTU(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	makePair(t, "eth0", "host0")
	for _, test := range []struct {
		mtu, want int
		wantErr   string
	}{
		{0, 1500, ""},
		{1280, 1280, ""},
		{0, 1280, ""},
		{-1, 1280, "bring up eth0: MTU -1 is none"},
		{1, 1280, "bring up eth0: mtu less than device minimum: invalid argument"},
	} {
		config := Config{Interface: "eth0", MTU: test.mtu}
		if err := config.Apply(); (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("MTU %d: got error %v, want %q", test.mtu, err, test.wantErr)
		}
		if device, err := net.InterfaceByName("eth0"); err != nil || device.MTU != test.want {
			t.Errorf("MTU %d: got %+v, %v, want %d", test.mtu, device, err, test.want)
		}
	}
}

func TestApplyWithoutInterface(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	for name, want := range map[string]string{
		"eth0":                  "find interface eth0: no such device",
		"a-name-that-is-longer": `name of interface "a-name-that-is-longer": invalid argument`,
	} {
		config := Config{Interface: name}
		if err := config.Apply(); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}

// TestKernelText checks that the kernel's words for an error reach the log.
func TestKernelText(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	message := defaultRouteMessage(1<<30, netip.MustParseAddr("10.0.0.1"))
	const want = "Nexthop device required for onlink: no such device" // fib_check_nh_v4_gw in net/ipv4/fib_semantics.c
	if err := conn.request(message); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if err := conn.close(); err != nil {
		t.Error(err)
	}
	if err := conn.close(); err == nil {
		t.Error("second close: got no error")
	}
	if err := conn.request(message); err == nil || err.Error() != "send netlink request: bad file descriptor" {
		t.Errorf("got error %v from a closed socket", err)
	}
}

func TestAdd(t *testing.T) {
	tests := []struct {
		name    string
		ip      string
		length  int
		gateway string
		want    string
	}{
		{"IPv4", "10.0.0.2", 24, "10.0.0.1", ""},
		{"IPv6", "fd00::2", 64, "fe80::1", ""},
		{"no gateway", "10.0.0.2", 24, "", ""},
		{"all bits", "10.0.0.2", 32, "", ""},
		{"nothing", "", 0, "", ""},

		{"gateway alone", "", 24, "10.0.0.1", `parse address: ParseAddr(""): unable to parse IP`},
		{"name", "host", 24, "", `parse address: ParseAddr("host"): unable to parse IP`},
		{"prefix in the address", "10.0.0.2/24", 24, "", `parse address: ParseAddr("10.0.0.2/24"): unexpected character (at "/24")`},
		{"zone", "fe80::1%eth0", 64, "", "parse address: fe80::1%eth0 is not the address of a host"},
		{"mapped", "::ffff:10.0.0.2", 96, "", "parse address: ::ffff:10.0.0.2 is not the address of a host"},
		{"unspecified", "0.0.0.0", 24, "", "parse address: 0.0.0.0 is not the address of a host"},
		{"multicast", "224.0.0.1", 24, "", "parse address: 224.0.0.1 is not the address of a host"},
		{"no length", "10.0.0.2", 0, "", "prefix length 0 of address 10.0.0.2 is not from 1 to 32"},
		{"negative length", "10.0.0.2", -1, "", "prefix length -1 of address 10.0.0.2 is not from 1 to 32"},
		{"IPv6 length", "10.0.0.2", 33, "", "prefix length 33 of address 10.0.0.2 is not from 1 to 32"},
		{"long length", "fd00::2", 129, "", "prefix length 129 of address fd00::2 is not from 1 to 128"},
		{"nonsense gateway", "10.0.0.2", 24, "gw", `parse gateway: ParseAddr("gw"): unable to parse IP`},
		{"unspecified gateway", "10.0.0.2", 24, "0.0.0.0", "parse gateway: 0.0.0.0 is not the address of a host"},
		{"two families", "10.0.0.2", 24, "fe80::1", "gateway fe80::1 is not of the family of address 10.0.0.2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var config Config
			err := config.Add(test.ip, test.length, test.gateway)
			if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if err != nil && (config.addresses != nil || config.gateways != nil) {
				t.Errorf("got %+v of what was refused", config)
			}
		})
	}
}

// answer makes NLMSG_ERROR with attributes.
func answer(sequence uint32, number unix.Errno, attributes []byte) []byte {
	order := binary.NativeEndian
	packet := order.AppendUint32(nil, uint32(2*unix.SizeofNlMsghdr+4+len(attributes)))
	packet = order.AppendUint16(packet, unix.NLMSG_ERROR)
	packet = order.AppendUint16(packet, unix.NLM_F_ACK_TLVS)
	packet = order.AppendUint32(packet, sequence)
	packet = order.AppendUint32(packet, 0)
	packet = order.AppendUint32(packet, uint32(-int32(number)))
	packet = append(packet, make([]byte, unix.SizeofNlMsghdr)...)
	return append(packet, attributes...)
}

func FuzzAcknowledgement(f *testing.F) {
	text := appendAttribute(nil, unix.NLMSGERR_ATTR_MSG, []byte("why not\x00"))
	f.Add(answer(1, 0, nil))
	f.Add(answer(1, unix.EINVAL, nil))
	f.Add(answer(1, unix.EINVAL, text))
	f.Add(append(answer(7, 0, nil), answer(1, unix.EPERM, text)...))
	f.Add(answer(1, unix.EINVAL, []byte{3, 0, 1, 0}))
	f.Add(make([]byte, unix.SizeofNlMsghdr))
	f.Fuzz(func(t *testing.T, packet []byte) {
		found, err := acknowledgement(packet, 1)
		if !found && err != nil && !errors.Is(err, errAnswer) {
			t.Errorf("got error %v without an answer", err)
		}
	})
}

func TestAcknowledgement(t *testing.T) {
	text := appendAttribute(nil, unix.NLMSGERR_ATTR_MSG, []byte("why not\x00"))
	tests := []struct {
		name   string
		packet []byte
		found  bool
		want   string
	}{
		{"done", answer(1, 0, nil), true, ""},
		{"error", answer(1, unix.EINVAL, nil), true, "invalid argument"},
		{"error with a text", answer(1, unix.EINVAL, text), true, "why not: invalid argument"},
		{"text behind another attribute", answer(1, unix.EINVAL, append(appendAttribute(nil, unix.NLMSGERR_ATTR_OFFS, make([]byte, 4)), text...)), true, "why not: invalid argument"},
		{"of another request", answer(7, unix.EINVAL, nil), false, ""},
		{"behind another", append(answer(7, unix.EINVAL, nil), answer(1, 0, nil)...), true, ""},
		{"nothing", nil, false, ""},
		{"cut header", make([]byte, 15), false, "malformed netlink answer"},
		{"length of 0", make([]byte, 16), false, "malformed netlink answer"},
		{"cut", answer(1, 0, nil)[:30], false, "malformed netlink answer"},
		{"attribute of length 3", answer(1, unix.EINVAL, []byte{3, 0, 1, 0}), true, "invalid argument\nmalformed netlink answer"},
	}
	for _, test := range tests {
		found, err := acknowledgement(test.packet, 1)
		if found != test.found || (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got %v, %v, want %v, %q", test.name, found, err, test.found, test.want)
		}
	}
}
