package server

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/agent/internal/identity"
	"github.com/kindling-vm/kindling/guest/agent/internal/random"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/guest/internal/network"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

func requireCode(t *testing.T, name string, err error, code codes.Code, text string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || got.Message() != text {
		t.Errorf("%s: got %v, want code %v, %q", name, err, code, text)
	}
}

func TestSyncClockRefuses(t *testing.T) {
	s := &service{} // without a clock: none is asked for
	now := time.Now().UnixNano()
	for _, test := range []struct {
		name            string
		host, threshold int64
		want            string
	}{
		{"no time", 0, 0, "host's time 1970-01-01 00:00:00 +0000 UTC is before 2020-01-01 00:00:00 +0000 UTC"},
		{"negative time", -1, 0, "host's time 1969-12-31 23:59:59.999999999 +0000 UTC is before 2020-01-01 00:00:00 +0000 UTC"},
		{"clock that was never set", 1577836799999999999, 0, "host's time 2019-12-31 23:59:59.999999999 +0000 UTC is before 2020-01-01 00:00:00 +0000 UTC"},
		{"negative threshold", now, -1, "threshold -1ns is negative"},
	} {
		_, err := s.SyncClock(t.Context(), &guestpb.SyncClockRequest{HostUnixNanos: test.host, ThresholdNanos: test.threshold})
		requireCode(t, test.name, err, codes.InvalidArgument, test.want)
	}
}

func TestSyncClock(t *testing.T) {
	const hour = int64(time.Hour)
	host := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	guest, refused := host.Add(time.Hour), error(nil)
	s := &service{copied: &copied{clock: clock.New(func() time.Time { return guest }, func(at time.Time) error {
		if refused == nil {
			guest = at
		}
		return refused
	})}}
	for _, test := range []struct {
		name      string
		threshold int64
		refused   error
		offset    int64
		stepped   bool
		steps     uint64
		wantErr   string
	}{
		{"within the threshold", hour, nil, hour, false, 0, ""},
		{"not set", 0, unix.EPERM, 0, false, 0, "sync clock: set clock: operation not permitted"},
		{"beyond a second", 0, nil, hour, true, 1, ""},
		{"set before", 0, nil, 0, false, 1, ""},
	} {
		refused = test.refused
		resp, err := s.SyncClock(t.Context(), &guestpb.SyncClockRequest{HostUnixNanos: host.UnixNano(), ThresholdNanos: test.threshold})
		if resp.GetOffsetNanos() != test.offset || resp.GetStepped() != test.stepped || s.clock.Steps() != test.steps ||
			(err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got %v, %v after %d steps", test.name, resp, err, s.clock.Steps())
		}
	}
	if !guest.Equal(host) {
		t.Errorf("the clock is at %v, want %v", guest, host)
	}
}

func TestReseedRandom(t *testing.T) {
	var refused error
	generator := &random.Generator{Root: t.TempDir(), Device: os.DevNull, Ioctl: func(uintptr, uint, []byte) error { return refused }}
	s := &service{copied: &copied{random: generator}}
	for _, test := range []struct {
		name    string
		length  int
		refused error
		code    codes.Code
		want    string
	}{
		{"no seed", 0, nil, codes.InvalidArgument, "seed has 0 bytes, want at least 32"},
		{"short seed", 31, nil, codes.InvalidArgument, "seed has 31 bytes, want at least 32"},
		{"refused", 32, unix.EPERM, codes.Unknown, "reseed random: add entropy: operation not permitted"},
		{"done", 32, nil, codes.OK, ""},
	} {
		refused = test.refused
		seed := bytes.Repeat([]byte("s"), test.length)
		resp, err := s.ReseedRandom(t.Context(), &guestpb.ReseedRandomRequest{Seed: seed})
		requireCode(t, test.name, err, test.code, test.want)
		if (resp != nil) != (test.code == codes.OK) {
			t.Errorf("%s: got answer %v", test.name, resp)
		}
		if bytes.Contains(seed, []byte("s")) {
			t.Errorf("%s: the seed is left in memory", test.name)
		}
	}
	if got := generator.Reseeds(); got != 1 {
		t.Errorf("got %d reseeds, want 1", got)
	}
}

func TestRebindIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	s := &service{copied: &copied{machineID: identity.Files{MachineID: file}}}
	_, err := s.RebindIdentity(t.Context(), &guestpb.RebindIdentityRequest{})
	requireCode(t, "no instance", err, codes.InvalidArgument, "instance ID is empty")
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a machine ID was written (%v)", err)
	}
	seen := map[string]bool{}
	for _, instance := range []string{"one", "two", "one"} {
		resp, err := s.RebindIdentity(t.Context(), &guestpb.RebindIdentityRequest{InstanceId: instance})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != resp.GetMachineId()+"\n" {
			t.Errorf("instance %s: the file has %q, %v, want %s", instance, got, err, resp.GetMachineId())
		}
		seen[resp.GetMachineId()] = true
	}
	if len(seen) != 2 {
		t.Errorf("got machine IDs %v of two instances", seen)
	}
	s.machineID.MachineID = filepath.Join(file, "below")
	if resp, err := s.RebindIdentity(t.Context(), &guestpb.RebindIdentityRequest{InstanceId: "one"}); resp != nil || !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v, %v, want %v", resp, err, unix.ENOTDIR)
	}
}

// TestReconfigureNetworkRefuses checks that nothing is changed by a request of
// which a part is nonsense: there is no interface that could be.
func TestReconfigureNetworkRefuses(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	root := t.TempDir()
	s := &service{copied: &copied{root: root}}
	for _, test := range []struct {
		name    string
		request *guestpb.ReconfigureNetworkRequest
		code    codes.Code
		want    string
	}{
		{"MAC", &guestpb.ReconfigureNetworkRequest{Mac: "x"}, codes.InvalidArgument, `hardware address "x" is not that of one interface`},
		{"address", &guestpb.ReconfigureNetworkRequest{Ipv4: "fd00::1", Prefix: 64}, codes.InvalidArgument, "parse address: fd00::1 is not an IPv4 address"},
		{"no prefix", &guestpb.ReconfigureNetworkRequest{Ipv4: "10.0.0.1"}, codes.InvalidArgument, "prefix length 0 of address 10.0.0.1 is not from 1 to 32"},
		{"huge prefix", &guestpb.ReconfigureNetworkRequest{Ipv4: "10.0.0.1", Prefix: 1<<32 - 1}, codes.InvalidArgument, "prefix length 32767 of address 10.0.0.1 is not from 1 to 32"},
		{"prefix alone", &guestpb.ReconfigureNetworkRequest{Prefix: 24}, codes.InvalidArgument, "prefix length 24 is of no address"},
		{"gateway", &guestpb.ReconfigureNetworkRequest{Gateway: "0.0.0.0"}, codes.InvalidArgument, "parse gateway: 0.0.0.0 is not the address of a host"},
		{"name server", &guestpb.ReconfigureNetworkRequest{DnsServers: []string{"10.0.0.1", ""}}, codes.InvalidArgument, `parse name server: ParseAddr(""): unable to parse IP`},
		{"two", &guestpb.ReconfigureNetworkRequest{Mac: "x", DnsServers: []string{"a\nb"}}, codes.InvalidArgument,
			`hardware address "x" is not that of one interface` + "\n" + `parse name server: ParseAddr("a\nb"): unable to parse IP`},
		{"no interface", &guestpb.ReconfigureNetworkRequest{DnsServers: []string{"10.0.0.1"}}, codes.NotFound, "find interface eth0: no such device"},
		{"no such interface", &guestpb.ReconfigureNetworkRequest{InterfaceName: "eth9"}, codes.NotFound, "find interface eth9: no such device"},
		{"long name", &guestpb.ReconfigureNetworkRequest{InterfaceName: "sixteen-letters-"}, codes.InvalidArgument, `"sixteen-letters-" cannot be the name of an interface`},
		{"name with an end", &guestpb.ReconfigureNetworkRequest{InterfaceName: "lo\x00"}, codes.InvalidArgument, `"lo\x00" cannot be the name of an interface`},
	} {
		_, err := s.ReconfigureNetwork(t.Context(), test.request)
		requireCode(t, test.name, err, test.code, test.want)
		if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
			t.Errorf("%s: got %v, %v below the root, want nothing", test.name, entries, err)
		}
	}
}

// TestReconfigureNetwork changes the one interface that a namespace has. What
// becomes of it is package network's to test.
func TestReconfigureNetwork(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNET) {
		return
	}
	if err := network.Loopback(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	s := &service{copied: &copied{root: root}}
	// As systemd-resolved has it.
	link := filepath.Join(root, "etc/resolv.conf")
	if err := errors.Join(os.Mkdir(filepath.Dir(link), 0o755), os.Symlink("../run/systemd/resolve/stub-resolv.conf", link)); err != nil {
		t.Fatal(err)
	}
	for _, servers := range [][]string{{"10.7.0.1", "fd00::1"}, nil} {
		request := &guestpb.ReconfigureNetworkRequest{InterfaceName: "lo", Ipv4: "127.0.0.9", Prefix: 8, DnsServers: servers}
		if _, err := s.ReconfigureNetwork(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(link); err != nil || string(got) != "nameserver 10.7.0.1\nnameserver fd00::1\n" {
			t.Errorf("with servers %v: got resolv.conf %q, %v", servers, got, err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}
