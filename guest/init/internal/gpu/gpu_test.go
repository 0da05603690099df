package gpu

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeModules are the modules of a tree by name, with the error of their load.
type fakeModules struct {
	loads map[string]error
	log   *[]string
}

func (m fakeModules) Has(name string) bool {
	_, ok := m.loads[name]
	return ok
}

func (m fakeModules) Load(name, parameters string) error {
	*m.log = append(*m.log, name+" "+parameters)
	return m.loads[name]
}

// all is a driver whose modules load.
func all(driver string) map[string]error {
	return map[string]error{driver: nil, driver + "-uvm": nil, driver + "-modeset": nil, driver + "-drm": nil}
}

func without(modules map[string]error, name string) map[string]error {
	modules = maps.Clone(modules)
	delete(modules, name)
	return modules
}

func with(modules map[string]error, name string, err error) map[string]error {
	modules = maps.Clone(modules)
	modules[name] = err
	return modules
}

// device is a PCI device by its attributes.
type device struct{ address, vendor, class string }

var (
	disk  = device{"0000:00:01.0", "0x1af4", "0x010000"}
	first = device{"0000:00:05.0", "0x10de", "0x030200"}
	other = device{"0000:00:06.0", "0x10de", "0x030000"}
	sound = device{"0000:00:06.1", "0x10de", "0x040300"}
)

const procDevices = `Character devices:
  1 mem
195 nvidia
195 nvidiactl
511 nvidia-uvm

Block devices:
254 virtblk
510 nvidia-uvm
`

// newStarter makes a machine with devices and with the modules of an image and
// of an initrd, and gives what is loaded and the nodes that are made.
func newStarter(t *testing.T, devices []device, image, initrd map[string]error) (s *Starter, loaded *[]string, nodes map[string]string) {
	t.Helper()
	base := t.TempDir()
	write := func(name, content string) {
		name = filepath.Join(base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range devices {
		write("sys/bus/pci/devices/"+d.address+"/vendor", d.vendor+"\n")
		write("sys/bus/pci/devices/"+d.address+"/class", d.class+"\n")
	}
	write("proc/devices", procDevices)
	write("dev/null", "")
	loaded, nodes = new([]string), map[string]string{}
	return &Starter{Vendor: NVIDIA,
		Sys:   filepath.Join(base, "sys"),
		Proc:  filepath.Join(base, "proc"),
		Dev:   filepath.Join(base, "dev"),
		Trees: []Tree{{"image", fakeModules{image, loaded}}, {"initrd", fakeModules{initrd, loaded}}},
		mknod: func(name string, mode uint32, device int) error {
			nodes[filepath.Base(name)] = fmt.Sprintf("%o %d:%d", mode, unix.Major(uint64(device)), unix.Minor(uint64(device)))
			return os.WriteFile(name, nil, 0o600)
		},
	}, loaded, nodes
}

func TestStart(t *testing.T) {
	const each = "made nvidiactl, nvidia-modeset, nvidia-uvm, nvidia-uvm-tools, nvidia0"
	order := func(driver string) []string {
		return []string{driver + " ", driver + "-uvm ", driver + "-modeset ", driver + "-drm modeset=1"}
	}
	tests := []struct {
		name          string
		devices       []device
		image, initrd map[string]error
		loaded        []string
		report        string
		wantErr       string
	}{
		{name: "no GPU", devices: []device{disk}, image: all("nvidia")},
		{name: "no PCI", image: all("nvidia")},
		{
			name: "driver of the image", devices: []device{disk, first}, image: all("nvidia"), initrd: all("nvidia"), loaded: order("nvidia"),
			report: "GPU 0000:00:05.0: loaded nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm of image, " + each,
		},
		{
			name: "driver of the initrd", devices: []device{first}, initrd: all("nvidia"), loaded: order("nvidia"),
			report: "GPU 0000:00:05.0: loaded nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm of initrd, " + each,
		},
		{
			name: "Debian's driver", devices: []device{first}, image: all("nvidia-current"), loaded: order("nvidia-current"),
			report: "GPU 0000:00:05.0: loaded nvidia-current, nvidia-current-uvm, nvidia-current-modeset, nvidia-current-drm of image, " + each,
		},
		{
			name: "two GPUs and their sound", devices: []device{first, other, sound}, image: all("nvidia"), loaded: order("nvidia"),
			report: "GPU 0000:00:05.0, 0000:00:06.0, 0000:00:06.1: loaded nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm of image, " + each + ", nvidia1",
		},
		{
			name: "no driver", devices: []device{first},
			report:  "GPU 0000:00:05.0: no driver",
			wantErr: "find GPU driver: neither the image nor the initrd has module nvidia for this kernel",
		},
		{
			name: "part of a driver", devices: []device{first}, image: without(all("nvidia"), "nvidia-modeset"), loaded: []string{"nvidia ", "nvidia-uvm ", "nvidia-drm modeset=1"},
			report:  "GPU 0000:00:05.0: loaded nvidia, nvidia-uvm, nvidia-drm of image, " + each,
			wantErr: "find GPU driver: image has no module nvidia-modeset",
		},
		{
			name: "part is refused", devices: []device{first}, image: with(all("nvidia"), "nvidia-uvm", errors.New("load module uvm: unknown symbol")), loaded: order("nvidia"),
			report:  "GPU 0000:00:05.0: loaded nvidia, nvidia-modeset, nvidia-drm of image, " + each,
			wantErr: "load module uvm: unknown symbol",
		},
		{
			name: "driver is refused", devices: []device{first}, image: with(all("nvidia"), "nvidia", errors.New("load module nvidia: no such device")), initrd: all("nvidia"), loaded: []string{"nvidia "},
			report:  "GPU 0000:00:05.0: driver of image not loaded",
			wantErr: "load module nvidia: no such device",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, loaded, _ := newStarter(t, test.devices, test.image, test.initrd)
			report, err := s.Start()
			if report != test.report {
				t.Errorf("got report %q, want %q", report, test.report)
			}
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if diff := cmp.Diff(test.loaded, *loaded); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodes(t *testing.T) {
	s, _, nodes := newStarter(t, []device{first, other}, all("nvidia"), nil)
	if _, err := s.Start(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"nvidia0":          "20000 195:0",
		"nvidia1":          "20000 195:1",
		"nvidiactl":        "20000 195:255",
		"nvidia-modeset":   "20000 195:254",
		"nvidia-uvm":       "20000 511:0",
		"nvidia-uvm-tools": "20000 511:1",
	}
	if diff := cmp.Diff(want, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	for name := range want {
		if info, err := os.Stat(filepath.Join(s.Dev, name)); err != nil || info.Mode().Perm() != 0o666 {
			t.Errorf("%s = %v, %v, want mode 666", name, info, err)
		}
	}
}

func TestNodesFail(t *testing.T) {
	s, _, _ := newStarter(t, []device{first}, all("nvidia"), nil)
	s.mknod = func(name string, _ uint32, _ int) error {
		switch filepath.Base(name) {
		case "nvidiactl":
			return unix.EPERM
		case "nvidia-uvm":
			return errors.Join(os.WriteFile(name, nil, 0o600), unix.EEXIST)
		}
		return os.WriteFile(name, nil, 0o600)
	}
	report, err := s.Start()
	want := "GPU 0000:00:05.0: loaded nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm of image, made nvidia-modeset, nvidia-uvm, nvidia-uvm-tools, nvidia0"
	if report != want {
		t.Errorf("got report %q, want %q", report, want)
	}
	if wantErr := "make device node " + s.Dev + "/nvidiactl: operation not permitted"; err == nil || err.Error() != wantErr {
		t.Errorf("got error %v, want %s", err, wantErr)
	}
	if err := os.Remove(filepath.Join(s.Proc, "devices")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v without /proc/devices", err)
	}
}

func TestCharacterMajors(t *testing.T) {
	want := map[string]uint32{"mem": 1, "nvidia": 195, "nvidiactl": 195, "nvidia-uvm": 511}
	if diff := cmp.Diff(want, characterMajors(procDevices)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	old := characterMajors("Character devices:\n195 nvidia-frontend\n-1 a\n99999999999 b\n7\n1 2 3\n")
	if diff := cmp.Diff(map[string]uint32{"nvidia-frontend": 195}, old); diff != "" {
		t.Errorf("old driver (-want +got):\n%s", diff)
	}
}
