package network

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// setUp gives eth0 what init gives it.
func setUp(t *testing.T) {
	t.Helper()
	makePair(t, "eth0", "host0")
	config := Config{Interface: "eth0"}
	for _, err := range []error{
		config.Add("10.100.3.7", 16, "10.100.0.1"),
		config.Add("fd00:12::7", 64, "fd00:12::1"),
		config.Apply(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func hardwareAddress(t *testing.T, name string) string {
	t.Helper()
	device, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return device.HardwareAddr.String()
}

// neighbours lists the IPv4 neighbours of all interfaces that were asked for.
func neighbours(t *testing.T) []string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/net/arp")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); fields[0] != "IP" {
			got = append(got, fields[0])
		}
	}
	slices.Sort(got)
	return got
}

// requests asks the kernel for what the messages say.
func requests(t *testing.T, messages ...message) {
	t.Helper()
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := conn.request(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.close(); err != nil {
		t.Fatal(err)
	}
}

func indexOf(t *testing.T, name string) uint32 {
	t.Helper()
	device, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(device.Index)
}

func TestChangeAll(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	setUp(t)
	index := indexOf(t, "eth0")
	requests(t,
		addressMessage(index, netip.MustParsePrefix("10.100.3.8/16")), // behind the first
		addressMessage(index, netip.MustParsePrefix("192.0.2.1/24")),
		addressMessage(indexOf(t, "host0"), netip.MustParsePrefix("192.0.2.77/24")))
	change := Change{Interface: "eth0"}
	for _, err := range []error{
		change.SetMAC("02:00:00:0a:00:05"),
		change.SetAddress("10.7.0.5", 24),
		change.SetGateway("10.7.0.1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The second time is that of a host that got no answer.
	for range 2 {
		if err := change.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := hardwareAddress(t, "eth0"), "02:00:00:0a:00:05"; got != want {
		t.Errorf("got hardware address %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{"10.7.0.5/24", "fd00:12::7/64"}, addresses(t, "eth0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eth0 10.7.0.1", "eth0 fd00:12::1"}, defaultRoutes(t)); diff != "" {
		t.Errorf("default routes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"192.0.2.77/24"}, addresses(t, "host0")); diff != "" {
		t.Errorf("addresses of the other interface (-want +got):\n%s", diff)
	}
}

func TestFlushNeighbours(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	setUp(t)
	neighbour := func(name string, state uint16, address string) message {
		body := make([]byte, unix.SizeofNdMsg)
		body[0] = unix.AF_INET
		binary.NativeEndian.PutUint32(body[4:], indexOf(t, name))
		binary.NativeEndian.PutUint16(body[8:], state)
		body = appendAttribute(body, unix.NDA_DST, netip.MustParseAddr(address).AsSlice())
		body = appendAttribute(body, unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 9, 0, 0})
		return message{kind: unix.RTM_NEWNEIGH, flags: unix.NLM_F_CREATE, body: body}
	}
	requests(t, neighbour("eth0", unix.NUD_REACHABLE, "10.100.0.1"), neighbour("eth0", unix.NUD_STALE, "10.100.0.2"),
		neighbour("eth0", unix.NUD_PERMANENT, "10.100.0.3"), neighbour("host0", unix.NUD_REACHABLE, "10.100.0.4"))
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.flushNeighbours(indexOf(t, "eth0")), conn.close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.100.0.3", "10.100.0.4"}, neighbours(t)); diff != "" {
		t.Errorf("neighbours (-want +got):\n%s", diff)
	}
}

// TestChangeOne checks that what is not to change does not.
func TestChangeOne(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	setUp(t)
	static := []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	static = appendAttribute(static, unix.RTA_DST, netip.MustParseAddr("198.51.100.0").AsSlice())
	static = appendAttribute(static, unix.RTA_GATEWAY, netip.MustParseAddr("10.100.0.9").AsSlice())
	static = appendAttribute(static, unix.RTA_PREFSRC, netip.MustParseAddr("10.100.3.7").AsSlice())
	requests(t, message{kind: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE, body: static})
	before := hardwareAddress(t, "eth0")
	for _, test := range []struct {
		name               string
		set                func(*Change) error
		mac, address, via  string
		hasStatic, wasDown bool
	}{
		{"nothing", func(*Change) error { return nil }, before, "10.100.3.7/16", "10.100.0.1", true, false},
		{"hardware address", func(c *Change) error { return c.SetMAC("02:00:00:00:00:01") }, "02:00:00:00:00:01", "10.100.3.7/16", "10.100.0.1", true, false},
		{"gateway", func(c *Change) error { return c.SetGateway("10.100.0.2") }, "02:00:00:00:00:01", "10.100.3.7/16", "10.100.0.2", true, false},
		{"address", func(c *Change) error { return c.SetAddress("10.7.0.5", 24) }, "02:00:00:00:00:01", "10.7.0.5/24", "10.100.0.2", false, false},
		{"address of a down interface", func(c *Change) error { return c.SetAddress("10.7.0.6", 24) }, "02:00:00:00:00:01", "10.7.0.6/24", "", false, true},
	} {
		if test.wasDown {
			requests(t, linkMessage(indexOf(t, "eth0"), 0))
		}
		change := Change{Interface: "eth0"}
		if err := errors.Join(test.set(&change), change.Apply()); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := hardwareAddress(t, "eth0"); got != test.mac {
			t.Errorf("%s: got hardware address %s, want %s", test.name, got, test.mac)
		}
		wantAddresses, wantRoutes := []string{test.address, "fd00:12::7/64"}, []string{"eth0 " + test.via, "eth0 fd00:12::1"}
		if test.wasDown {
			wantAddresses, wantRoutes = wantAddresses[:1], nil
		}
		if diff := cmp.Diff(wantAddresses, addresses(t, "eth0")); diff != "" {
			t.Errorf("%s: addresses (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(wantRoutes, defaultRoutes(t)); diff != "" {
			t.Errorf("%s: default routes (-want +got):\n%s", test.name, diff)
		}
		routes, err := os.ReadFile("/proc/self/net/route")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(routes), "\t006433C6\t"); got != test.hasStatic {
			t.Errorf("%s: got static route: %v, want %v\n%s", test.name, got, test.hasStatic, routes)
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Change) error
		want string
	}{
		{"short hardware address", func(c *Change) error { return c.SetMAC("02:00:00:00:00") }, `hardware address "02:00:00:00:00" is not that of one interface`},
		{"long hardware address", func(c *Change) error { return c.SetMAC("02:00:00:00:00:00:00:01") }, `hardware address "02:00:00:00:00:00:00:01" is not that of one interface`},
		{"other separators", func(c *Change) error { return c.SetMAC("02-00-00-00-00-01") }, `hardware address "02-00-00-00-00-01" is not that of one interface`},
		{"misplaced separators", func(c *Change) error { return c.SetMAC("020:0:00:00:00:01") }, `hardware address "020:0:00:00:00:01" is not that of one interface`},
		{"no digits", func(c *Change) error { return c.SetMAC("02:00:00:00:00:0g") }, `hardware address "02:00:00:00:00:0g" is not that of one interface`},
		{"group", func(c *Change) error { return c.SetMAC("01:00:5e:00:00:01") }, `hardware address "01:00:5e:00:00:01" is not that of one interface`},
		{"nobody", func(c *Change) error { return c.SetMAC("00:00:00:00:00:00") }, `hardware address "00:00:00:00:00:00" is not that of one interface`},
		{"IPv6 address", func(c *Change) error { return c.SetAddress("fd00::1", 24) }, "parse address: fd00::1 is not an IPv4 address"},
		{"no address", func(c *Change) error { return c.SetAddress("", 24) }, `parse address: ParseAddr(""): unable to parse IP`},
		{"no prefix length", func(c *Change) error { return c.SetAddress("10.0.0.1", 0) }, "prefix length 0 of address 10.0.0.1 is not from 1 to 32"},
		{"long prefix length", func(c *Change) error { return c.SetAddress("10.0.0.1", 33) }, "prefix length 33 of address 10.0.0.1 is not from 1 to 32"},
		{"multicast gateway", func(c *Change) error { return c.SetGateway("224.0.0.1") }, "parse gateway: 224.0.0.1 is not the address of a host"},
		{"IPv6 gateway", func(c *Change) error { return c.SetGateway("fe80::1") }, "parse gateway: fe80::1 is not an IPv4 address"},
	}
	for _, test := range tests {
		var change Change
		if err := test.set(&change); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
		if change != (Change{}) {
			t.Errorf("%s: got %+v of what was refused", test.name, change)
		}
	}
}

func TestChangeUnknownInterface(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	change := Change{Interface: "eth9"}
	if err := change.Apply(); !errors.Is(err, unix.ENODEV) || err.Error() != "find interface eth9: no such device" {
		t.Errorf("got error %v, want %v of eth9", err, unix.ENODEV)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(appendAttribute(nil, unix.RTA_OIF, []byte{1, 0, 0, 0}))
	f.Add([]byte{4, 0, 1, 0})
	f.Add([]byte{0, 0, 1, 0})
	f.Add([]byte{9, 0, 1, 0, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		for _, value := range attributes(data) {
			total += unix.SizeofRtAttr + len(value)
		}
		if total > len(data) {
			t.Errorf("got %d bytes of attributes from %d", total, len(data))
		}
	})
}
