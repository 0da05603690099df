// Package gpu starts the driver of NVIDIA GPUs that the host has passed to the
// guest. PID 1 calls Start before the root switch with the image's modules and
// then the initrd's; without a device of that vendor it does nothing.
//
// It builds no driver and looks at no libraries: these are the image's, and must
// be of the same version as the modules.
package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NVIDIA is the vendor of its PCI devices, as sysfs has it.
const NVIDIA = "0x10de"

// displayClass is the beginning of the class of PCI functions that show or
// compute.
const displayClass = "0x03"

// drivers are the modules' names, NVIDIA's own and that of Debian's packages, as
// the beginning of all four.
var drivers = []string{"nvidia", "nvidia-current"}

// parts follow the driver's name, in the order of loading.
var parts = []struct{ suffix, parameters string }{
	{"", ""},
	{"-uvm", ""},
	{"-modeset", ""},
	{"-drm", "modeset=1"},
}

// Modules are the kernel modules of one tree.
type Modules interface {
	Has(name string) bool
	Load(name, parameters string) error
}

// Tree is a place that may have the driver.
type Tree struct {
	Name    string // for people
	Modules Modules
}

// Starter is the machine as far as it matters here.
type Starter struct {
	Vendor string // of the devices that count, NVIDIA but in tests
	Sys    string // where sysfs is mounted
	Proc   string // where procfs is mounted
	Dev    string // where device nodes go
	Trees  []Tree // the first that has the driver counts

	mknod func(name string, mode uint32, device int) error // unix.Mknod but in tests
}

// Start loads the driver's modules and makes its device nodes, and gives one
// line that says what is there and what was done. The line is empty on a machine
// without such a device, and is there with an error too.
func (s *Starter) Start() (report string, err error) {
	devices, displays, err := s.devices()
	if err != nil || len(devices) == 0 {
		return "", err
	}
	report = "GPU " + strings.Join(devices, ", ") + ": "
	tree, driver := s.find()
	if driver == "" {
		return report + "no driver", errors.New("find GPU driver: neither the image nor the initrd has module nvidia for this kernel")
	}
	var loaded []string
	for _, part := range parts {
		name := driver + part.suffix
		if !tree.Modules.Has(name) {
			err = errors.Join(err, fmt.Errorf("find GPU driver: %s has no module %s", tree.Name, name))
			continue
		}
		if loadErr := tree.Modules.Load(name, part.parameters); loadErr != nil {
			err = errors.Join(err, loadErr)
			if part.suffix == "" {
				break // the others need it
			}
			continue
		}
		loaded = append(loaded, name)
	}
	if len(loaded) == 0 {
		return report + "driver of " + tree.Name + " not loaded", err
	}
	nodes, nodesErr := s.makeNodes(displays)
	report += fmt.Sprintf("loaded %s of %s, made %s", strings.Join(loaded, ", "), tree.Name, strings.Join(nodes, ", "))
	return report, errors.Join(err, nodesErr)
}

// find gives the first driver of the first tree that has one.
func (s *Starter) find() (Tree, string) {
	for _, tree := range s.Trees {
		for _, driver := range drivers {
			if tree.Modules.Has(driver) {
				return tree, driver
			}
		}
	}
	return Tree{}, ""
}

// devices lists the PCI addresses of the vendor's devices, and how many of them
// are GPUs: there are bridges and sound devices as well.
func (s *Starter) devices() (addresses []string, displays int, err error) {
	dir := path.Join(s.Sys, "bus/pci/devices")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil // a machine without PCI
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list PCI devices: %w", err)
	}
	for _, entry := range entries {
		found, err := attribute(dir, entry.Name(), "vendor")
		if errors.Is(err, fs.ErrNotExist) {
			continue // unplugged
		}
		if err != nil {
			return nil, 0, err
		}
		if found != s.Vendor {
			continue
		}
		class, err := attribute(dir, entry.Name(), "class")
		if err != nil {
			return nil, 0, err
		}
		if strings.HasPrefix(class, displayClass) {
			displays++
		}
		addresses = append(addresses, entry.Name())
	}
	return addresses, displays, nil
}

func attribute(dir, device, name string) (string, error) {
	content, err := os.ReadFile(path.Join(dir, device, name))
	if err != nil {
		return "", fmt.Errorf("read PCI device: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// node is a character device below /dev.
type node struct {
	name  string
	major string // the driver's name for it in /proc/devices
	minor uint32
}

// Of the driver's nvidia-modprobe-utils.h.
const (
	controlMinor = 255
	modesetMinor = 254
)

// makeNodes makes what nvidia-modprobe(1) would: the driver leaves it to user
// space, as the kernel's functions for it are for GPL modules only.
func (s *Starter) makeNodes(displays int) (made []string, err error) {
	content, err := os.ReadFile(path.Join(s.Proc, "devices"))
	if err != nil {
		return nil, fmt.Errorf("read list of devices: %w", err)
	}
	majors := characterMajors(string(content))
	frontend := "nvidia-frontend"
	if _, ok := majors[frontend]; !ok {
		frontend = "nvidia" // as newer drivers call it
	}
	nodes := []node{{"nvidiactl", frontend, controlMinor}, {"nvidia-modeset", frontend, modesetMinor}, {"nvidia-uvm", "nvidia-uvm", 0}, {"nvidia-uvm-tools", "nvidia-uvm", 1}}
	for i := range displays {
		nodes = append(nodes, node{"nvidia" + strconv.Itoa(i), frontend, uint32(i)})
	}
	mknod := unix.Mknod
	if s.mknod != nil {
		mknod = s.mknod
	}
	for _, n := range nodes {
		major, ok := majors[n.major]
		if !ok {
			continue // its module is not loaded, which was said
		}
		name := path.Join(s.Dev, n.name)
		if nodeErr := mknod(name, unix.S_IFCHR, int(unix.Mkdev(major, n.minor))); nodeErr != nil && !errors.Is(nodeErr, fs.ErrExist) {
			err = errors.Join(err, fmt.Errorf("make device node %s: %w", name, nodeErr))
			continue
		}
		// As the driver's own tools do by default, whatever the umask.
		if chmodErr := os.Chmod(name, 0o666); chmodErr != nil {
			err = errors.Join(err, fmt.Errorf("open device node to all: %w", chmodErr))
			continue
		}
		made = append(made, n.name)
	}
	return made, err
}

// characterMajors reads the first part of /proc/devices, of lines "195 nvidia".
func characterMajors(content string) map[string]uint32 {
	majors := map[string]uint32{}
	characters, _, _ := strings.Cut(content, "\n\n")
	for line := range strings.Lines(characters) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		if number, err := strconv.ParseUint(fields[0], 10, 32); err == nil {
			majors[fields[1]] = uint32(number)
		}
	}
	return majors
}
