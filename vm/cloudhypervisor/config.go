package cloudhypervisor

import (
	"github.com/kindling-vm/kindling/vm"
)

// vmConfig and the types below are what the API calls VmConfig, as far as it is
// used here.
type vmConfig struct {
	CPUs    cpusConfig    `json:"cpus"`
	Memory  memoryConfig  `json:"memory"`
	Payload payloadConfig `json:"payload"`
	Disks   []diskConfig  `json:"disks,omitempty"`
	Net     []netConfig   `json:"net,omitempty"`
	Serial  consoleConfig `json:"serial"`
	Console consoleConfig `json:"console"`
	Vsock   vsockConfig   `json:"vsock"`
}

type cpusConfig struct {
	Boot int `json:"boot_vcpus"`
	Max  int `json:"max_vcpus"`
}

type memoryConfig struct {
	Size int64 `json:"size"` // bytes
}

type payloadConfig struct {
	Kernel    string `json:"kernel"`
	Initramfs string `json:"initramfs"`
	Cmdline   string `json:"cmdline"`
}

type diskConfig struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readonly"`
	// Image's default is what the file looks like, which the guest can change.
	Image string `json:"image_type"`
}

type netConfig struct {
	Tap string `json:"tap"`
	MAC string `json:"mac"`
}

type consoleConfig struct {
	Mode string `json:"mode"`
}

type vsockConfig struct {
	CID    uint32 `json:"cid"`
	Socket string `json:"socket"`
}

// configOf is a machine as the API describes it. Its serial port is the
// program's standard output.
func configOf(spec vm.Spec) vmConfig {
	config := vmConfig{
		CPUs:    cpusConfig{spec.CPUs, spec.CPUs},
		Memory:  memoryConfig{int64(spec.MemoryMiB) << 20},
		Payload: payloadConfig{spec.Kernel, spec.Initrd, spec.Cmdline},
		Serial:  consoleConfig{"Tty"},
		Console: consoleConfig{"Off"},
		Vsock:   vsockConfig{spec.CID, vm.Vsock(spec.Dir)},
	}
	for _, disk := range spec.Disks {
		config.Disks = append(config.Disks, diskConfig{disk.Path, disk.ReadOnly, "Raw"})
	}
	if spec.Tap != nil {
		config.Net = []netConfig{{spec.Tap.Name, spec.Tap.MAC.String()}}
	}
	return config
}
