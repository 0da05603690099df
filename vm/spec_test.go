package vm

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpecValidate(t *testing.T) {
	t.Chdir(t.TempDir()) // whose own path may be too long
	for _, name := range []string{"kernel", "initrd", "disk"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	longest := strings.Repeat("d", MaxDirLength)
	for _, name := range []string{"dir", longest, longest + "d"} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		change func(*Spec)
		want   string // in the error; "" for none
	}{
		{"as it should be", func(*Spec) {}, ""},
		{"no disks", func(s *Spec) { s.Disks = nil }, ""},
		{"longest path", func(s *Spec) { s.Dir = longest }, ""},
		{"path too long", func(s *Spec) { s.Dir = longest + "d" }, "a path of 81 bytes, want at most 80"},
		{"no folder", func(s *Spec) { s.Dir = "none" }, "look at folder: stat none"},
		{"file as folder", func(s *Spec) { s.Dir = "kernel" }, `"kernel" is not a folder`},
		{"no memory", func(s *Spec) { s.MemoryMiB = 0 }, "memory is 0 MiB, want at least 1"},
		{"no CPU", func(s *Spec) { s.CPUs = -1 }, "CPUs are -1, want at least 1"},
		{"host's CID", func(s *Spec) { s.CID = 2 }, "vsock CID is 2, want at least 3"},
		{"no serial output", func(s *Spec) { s.Serial = nil }, "serial output goes nowhere"},
		{"forward", func(s *Spec) { s.UserNetwork, s.Forwards = true, forwards("127.0.0.1:80", 8080) }, ""},
		{"forward without a network", func(s *Spec) { s.Forwards = forwards("127.0.0.1:80", 8080) }, "there is no user network"},
		{"forward of IPv6", func(s *Spec) { s.UserNetwork, s.Forwards = true, forwards("[::1]:80", 8080) }, "forward of [::1]:80 to port 8080, want an IPv4"},
		{"forward of no port", func(s *Spec) { s.UserNetwork, s.Forwards = true, forwards("127.0.0.1:0", 8080) }, "forward of 127.0.0.1:0"},
		{"forward to no port", func(s *Spec) { s.UserNetwork, s.Forwards = true, forwards("127.0.0.1:80", 0) }, "to port 0, want"},
		{"tap device", func(s *Spec) { s.Tap = tap("lo", 0x02) }, ""},
		{"tap device and user network", func(s *Spec) { s.UserNetwork, s.Tap = true, tap("lo", 0x02) }, "want one of them"},
		{"tap device without a name", func(s *Spec) { s.Tap = tap("", 0x02) }, `tap device is called "", want`},
		{"tap device with a long name", func(s *Spec) { s.Tap = tap("tap4567890123456", 0x02) }, "want 1 to 15 characters"},
		{"tap device and an option", func(s *Spec) { s.Tap = tap("lo,fd=3", 0x02) }, `tap device is called "lo,fd=3"`},
		{"missing tap device", func(s *Spec) { s.Tap = tap("none-such", 0x02) }, "find tap device none-such: route ip+net: no such network interface"},
		{"MAC of a group", func(s *Spec) { s.Tap = tap("lo", 0x01) }, `MAC address is "01:00:00:00:00:00", want`},
		{"no MAC", func(s *Spec) { s.Tap = &Tap{Name: "lo"} }, `MAC address is "", want`},
		{"no kernel", func(s *Spec) { s.Kernel = "" }, "look at file: stat"},
		{"no initrd", func(s *Spec) { s.Initrd = "none" }, "look at file: stat none"},
		{"folder as initrd", func(s *Spec) { s.Initrd = "dir" }, `"dir" is not a regular file`},
		{"no disk", func(s *Spec) { s.Disks[1].Path = "none" }, "look at file: stat none"},
		{"device as disk", func(s *Spec) { s.Disks[0].Path = os.DevNull }, `"/dev/null" is not a regular file`},
	}
	for _, test := range tests {
		spec := Spec{
			Dir: "dir", Arch: "x86_64", Kernel: "kernel", Initrd: filepath.Join("dir", "..", "initrd"), Cmdline: "console=ttyS0",
			MemoryMiB: 1, CPUs: 1, CID: 3, Disks: []Disk{{Path: "disk"}, {Path: "disk", ReadOnly: true}}, Serial: io.Discard,
		}
		test.change(&spec)
		err := spec.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func forwards(host string, guest uint16) []Forward {
	return []Forward{{Host: netip.MustParseAddrPort(host), Guest: guest}}
}

// tap is a device with a MAC address that has one byte. Every host has lo.
func tap(name string, first byte) *Tap {
	return &Tap{Name: name, MAC: net.HardwareAddr{first, 0, 0, 0, 0, 0}}
}
