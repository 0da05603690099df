package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/gpu"
	"github.com/kindling-vm/kindling/guest/init/internal/modules"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// onDemand are modules that are loaded when a disk or the config asks for what
// they do, and not by each boot.
var onDemand = map[string]bool{"erofs": true, "squashfs": true, "nfsv4": true, "ptp_kvm": true, "virtio_net": true}

// loadModules loads the modules that /etc/modules lists. The disk watch starts
// first, so that no new disk is missed.
func (m *machine) loadModules() (err error) {
	if m.disks, err = watchDisks(diskTimeout); err != nil {
		return err
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return fmt.Errorf("read kernel release: %w", err)
	}
	m.release = unix.ByteSliceToString(uname.Release[:])
	list, err := os.Open("/etc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel with everything built in
	}
	if err != nil {
		return fmt.Errorf("open list of modules: %w", err)
	}
	defer list.Close()
	names, err := readModuleList(list)
	if err != nil {
		return err
	}
	root, err := inroot.Open("/")
	if err != nil {
		return err
	}
	if m.modules, err = modules.Open(root, m.release); err != nil {
		return err
	}
	for _, name := range names {
		if onDemand[name] {
			continue
		}
		if err := m.modules.Load(name, ""); err != nil {
			return err
		}
	}
	return nil
}

// load loads a module that the initramfs has. Another may be built into the
// kernel: whoever needs it will see.
func (m *machine) load(name string) error {
	if m.modules == nil || !m.modules.Has(name) {
		return nil
	}
	return m.modules.Load(name, "")
}

// clocksources lists what the kernel can tell the time by.
const clocksources = "/sys/devices/system/clocksource/clocksource0/available_clocksource"

// startHostClock makes the host's clock a device, by which the agent keeps the
// guest's right after a restore. Only KVM has one.
func (m *machine) startHostClock() error {
	content, err := os.ReadFile(clocksources)
	if err != nil {
		return fmt.Errorf("list clocks: %w", err)
	}
	if !slices.Contains(strings.Fields(string(content)), "kvm-clock") {
		return nil
	}
	return m.load("ptp_kvm")
}

// readModuleList reads names of modules, one a line.
func readModuleList(list io.Reader) ([]string, error) {
	var names []string
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		if name := strings.TrimSpace(lines.Text()); name != "" && !strings.HasPrefix(name, "#") {
			names = append(names, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read /etc/modules: %w", err)
	}
	return names, nil
}

// startGPU loads the driver of a GPU, if the machine has one.
func (m *machine) startGPU() error {
	vendor, err := gpuVendor()
	if err != nil {
		return err
	}
	return inNewRoot(func(image *inroot.Root) error {
		starter := gpu.Starter{Vendor: vendor, Sys: "/sys", Proc: "/proc", Dev: "/dev", Trees: []gpu.Tree{
			{Name: "the image", Modules: lazyModules(sync.OnceValues(func() (*modules.Set, error) { return modules.Open(image, m.release) }))},
		}}
		if m.modules != nil {
			starter.Trees = append(starter.Trees, gpu.Tree{Name: "the initrd", Modules: m.modules})
		}
		report, err := starter.Start()
		if report != "" {
			m.log.info("gpu", "%s", report)
		}
		return err
	})
}

// lazyModules reads what a tree has when somebody asks: an image's is large, and
// few machines have a GPU.
type lazyModules func() (*modules.Set, error)

func (l lazyModules) Has(name string) bool {
	set, err := l()
	return err != nil || set.Has(name) // Load tells of the error
}

func (l lazyModules) Load(name, parameters string) error {
	set, err := l()
	if err != nil {
		return err
	}
	return set.Load(name, parameters)
}
