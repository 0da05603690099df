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

func TestParsePublish(t *testing.T) {
	tests := []struct {
		text string
		want vm.Forward
		err  string // in the error; "" for none
	}{
		{"8080:80", vm.Forward{Host: netip.MustParseAddrPort("127.0.0.1:8080"), Guest: 80}, ""},
		{"8080:80/tcp", vm.Forward{Host: netip.MustParseAddrPort("127.0.0.1:8080"), Guest: 80}, ""},
		{"0.0.0.0:1:65535", vm.Forward{Host: netip.MustParseAddrPort("0.0.0.0:1"), Guest: 65535}, ""},
		{"80", vm.Forward{}, "want [ADDRESS:]HOST:GUEST[/tcp]"},
		{"", vm.Forward{}, "want [ADDRESS:]HOST:GUEST[/tcp]"},
		{"a:1:2:3", vm.Forward{}, "want [ADDRESS:]HOST:GUEST[/tcp]"},
		{"8080:80/udp", vm.Forward{}, `"udp" is not known, want tcp`},
		{"8080:80/", vm.Forward{}, `"" is not known, want tcp`},
		{"0:80", vm.Forward{}, `"0" is no port`},
		{"80:65536", vm.Forward{}, `"65536" is no port`},
		{"-1:80", vm.Forward{}, `"-1" is no port`},
		{":80", vm.Forward{}, `"" is no port`},
		{"localhost:80:80", vm.Forward{}, `"localhost" is no IPv4 address`},
		{"[::1]:80:80", vm.Forward{}, "want [ADDRESS:]HOST:GUEST[/tcp] with an IPv4 address"},
	}
	for _, test := range tests {
		got, err := parsePublish([]string{test.text})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), "--publish is ") {
				t.Errorf("%q: got error %v, want %q", test.text, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff([]vm.Forward{test.want}, got, cmpopts.EquateComparable(netip.AddrPort{})); err != nil || diff != "" {
			t.Errorf("%q: error %v (-want +got):\n%s", test.text, err, diff)
		}
	}
}

func TestParsePublishTwice(t *testing.T) {
	for _, texts := range [][]string{{"80:1", "80:2"}, {"127.0.0.2:80:1", "0.0.0.0:80:2"}} {
		if _, err := parsePublish(texts); err == nil || !strings.Contains(err.Error(), "--publish has port 80 of the host twice") {
			t.Errorf("%q: got error %v", texts, err)
		}
	}
	if _, err := parsePublish([]string{"127.0.0.1:80:1", "127.0.0.2:80:1", "81:1"}); err != nil {
		t.Error(err)
	}
}

func TestRunPublishes(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	file := filepath.Join(t.TempDir(), "arguments")
	t.Setenv(argumentsEnv, file)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got := kindling("run", "-p", port+":80")
	if want := "kindling: publish port 80 of the guest: listen tcp4 127.0.0.1:" + port + ": bind: address already in use\n"; got.Code != 125 || got.Stderr != want {
		t.Errorf("of a port in use: got %+v, want message %q", got, want)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string // in the arguments; "" for no network
	}{
		{[]string{"-p", port + ":80"}, "-netdev\nuser,id=network,hostfwd=tcp:127.0.0.1:" + port + "-:80\n"},
		{nil, "-netdev\nuser,id=network\n"},
		{[]string{"--net", "none"}, ""},
	}
	for _, test := range tests {
		if got := kindling(append([]string{"run"}, test.args...)...); got.Code != 0 {
			t.Fatalf("%q: got %+v", test.args, got)
		}
		arguments, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(arguments), test.want) || strings.Contains(string(arguments), "-netdev") != (test.want != "") {
			t.Errorf("%q: got arguments\n%s\nwant in them\n%s", test.args, arguments, test.want)
		}
	}
	h.requireReleased(t)
}

func TestGuestConfigOfRequest(t *testing.T) {
	image := baseImage(t)
	t.Setenv("KINDLING_TEST_PASSED", "on")
	user := request{Network: networkUser, Env: []string{"A=b=c", "KINDLING_TEST_PASSED", "HOME_OF_NOBODY"}, Command: []string{"env"}}
	want := &contract.Config{
		Entrypoint: nil, Cmd: []string{"env"}, Workdir: "/", InitMode: contract.ModeExec,
		Env:            map[string]string{"A": "b=c", "KINDLING_TEST_PASSED": "on"},
		NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestGateway: "10.0.2.2", GuestDNS: "10.0.2.3",
	}
	got, err := user.guestConfig(image)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("user network: error %v (-want +got):\n%s", err, diff)
	}
	none := request{Network: networkNone}
	want = &contract.Config{Cmd: []string{"sh"}, Workdir: "/", InitMode: contract.ModeExec, Env: map[string]string{}}
	got, err = none.guestConfig(image)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("no network: error %v (-want +got):\n%s", err, diff)
	}
}
