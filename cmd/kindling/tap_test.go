package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
)

func TestParseNetwork(t *testing.T) {
	plain := &tapNetwork{
		tap:     vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0, 192, 168, 7, 2}},
		address: netip.MustParsePrefix("192.168.7.2/24"),
	}
	full := &tapNetwork{
		tap: vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0xab, 0, 0, 0, 1}}, address: plain.address,
		gateway: netip.MustParseAddr("192.168.7.1"), dns: netip.MustParseAddr("9.9.9.9"),
	}
	const start = "tap,ifname=tap0,ip=192.168.7.2/24"
	tests := []struct {
		text string
		want *tapNetwork
		err  string // in the error; "" for none
	}{
		{"user", nil, ""},
		{"none", nil, ""},
		{start, plain, ""},
		{"tap,ip=192.168.7.2/24,ifname=tap0", plain, ""},
		{start + ",gateway=192.168.7.1,dns=9.9.9.9,mac=02:ab:00:00:00:01", full, ""},
		{"tap,mac=02-ab-00-00-00-01,dns=9.9.9.9,gateway=192.168.7.1,ip=192.168.7.2/24,ifname=tap0", full, ""},
		{"", nil, "want user, none or tap,ifname="},
		{"tap0", nil, "want user, none or tap,ifname="},
		{"user,ifname=tap0", nil, "want user, none or tap,ifname="},
		{"tap", nil, `and has "", want each option once: tap,ifname=`},
		{start + ",", nil, `and has "", want each option once`},
		{start + ",mac", nil, `and has "mac", want each option once`},
		{start + ",ip=192.168.7.3/24", nil, `and has "ip=192.168.7.3/24", want each option once`},
		{"tap,ip=192.168.7.2/24", nil, "and names no device"},
		{"tap,ifname=tap0", nil, `and ip is "", want`},
		{"tap,ifname=tap0,ip=192.168.7.2", nil, `and ip is "192.168.7.2", want`},
		{"tap,ifname=tap0,ip=192.168.7.2/0", nil, `and ip is "192.168.7.2/0", want`},
		{"tap,ifname=tap0,ip=fd00::2/64", nil, `and ip is "fd00::2/64", want`},
		{start + ",gateway=192.168.8.1", nil, `and gateway is "192.168.8.1", want another address in 192.168.7.0/24`},
		{start + ",gateway=192.168.7.2", nil, `and gateway is "192.168.7.2", want another`},
		{start + ",gateway=router", nil, `and gateway is "router", want another`},
		{start + ",dns=fd00::1", nil, `and dns is "fd00::1", want an IPv4 address`},
		{start + ",mac=1", nil, `and mac is "1", want six bytes`},
		{start + ",mac=02:00:00:00:00:00:00:01", nil, "want six bytes"},
		{start + ",vlan=1", nil, "and vlan is not known, want tap,ifname="},
	}
	for _, test := range tests {
		got, err := parseNetwork(test.text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), "--net is ") {
				t.Errorf("%q: got error %v, want %q", test.text, err, test.err)
			}
			continue
		}
		options := cmp.Options{cmp.AllowUnexported(tapNetwork{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}
		if diff := cmp.Diff(test.want, got, options); err != nil || diff != "" {
			t.Errorf("%q: error %v (-want +got):\n%s", test.text, err, diff)
		}
	}
}

func TestGuestConfigOfTap(t *testing.T) {
	image := baseImage(t)
	tests := []struct {
		network string
		want    contract.Config
	}{
		{"tap,ifname=tap0,ip=10.0.0.9/30", contract.Config{GuestIP: "10.0.0.9", GuestCIDR: 30}},
		{"tap,ifname=tap0,ip=10.0.0.9/30,gateway=10.0.0.10,dns=1.1.1.1",
			contract.Config{GuestIP: "10.0.0.9", GuestCIDR: 30, GuestGateway: "10.0.0.10", GuestDNS: "1.1.1.1"}},
	}
	for _, test := range tests {
		want := test.want
		want.NetworkEnabled, want.Cmd, want.Workdir, want.InitMode, want.Env = true, []string{"sh"}, "/", contract.ModeExec, map[string]string{}
		r := request{Network: test.network}
		got, err := r.guestConfig(image)
		if diff := cmp.Diff(&want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got):\n%s", test.network, err, diff)
		}
	}
}

func TestRunOnTap(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	file := filepath.Join(t.TempDir(), "arguments")
	t.Setenv(argumentsEnv, file)
	// Every host has lo, and what stands in for QEMU does not mind.
	if got := kindling("run", "--net", "tap,ifname=lo,ip=10.0.0.9/30"); got.Code != 0 {
		t.Fatalf("got %+v", got)
	}
	arguments, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "-netdev\ntap,id=network,ifname=lo,script=no,downscript=no\n-device\nvirtio-net-pci,netdev=network,romfile=,mac=02:00:0a:00:00:09\n"
	if !strings.Contains(string(arguments), want) {
		t.Errorf("got arguments\n%s\nwant in them\n%s", arguments, want)
	}
	got := kindling("run", "--net", "tap,ifname=none-such,ip=10.0.0.9/30")
	if want := "kindling: find tap device none-such: route ip+net: no such network interface\n"; got.Code != 125 || got.Stderr != want {
		t.Errorf("got %+v, want message %q", got, want)
	}
	h.requireReleased(t)
}
