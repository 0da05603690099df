package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/init/internal/volumes"
	"github.com/kindling-vm/kindling/guest/internal/etcfiles"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/network"
)

func (m *machine) readConfig() error {
	if err := m.disks.wait(contract.ConfigDisk); err != nil {
		return err
	}
	config, err := m.readConfigDisk(contract.ConfigDisk, "/mnt/config")
	if err != nil {
		return fmt.Errorf("config disk %s: %w", contract.ConfigDisk, err)
	}
	m.config = config
	for _, note := range config.Notes {
		m.log.info("config", "%s", note)
	}
	return nil
}

func (m *machine) readConfigDisk(disk, dir string) (config *contract.Config, err error) {
	fstype, err := m.diskType(disk)
	if err != nil {
		return nil, err
	}
	if err := mountAt(mount{source: disk, target: dir, fstype: fstype, flags: readOnly}); err != nil {
		return nil, err
	}
	file, err := os.Open(dir + contract.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("open config: %w", err)
	}
	config, err = contract.ReadConfig(file)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("close config: %w", err)
	}
	return config, unmount(dir)
}

// refuseUnserved names what the config asks for and this init does not do, so
// that nobody waits for it: a machine that goes around its proxy is not the
// machine that was asked for.
func (m *machine) refuseUnserved() error {
	if m.config.EgressProxy != nil && m.config.EgressProxy.Enabled {
		return errors.New("egress_proxy is not served")
	}
	return nil
}

// startLoopback is not a matter of the config: programs rely on it.
func (m *machine) startLoopback() error { return network.Loopback() }

// setUpNetwork gives the guest's interface its addresses. The application
// starts without them if need be, and tells by its own means what it misses.
func (m *machine) setUpNetwork() error {
	if !m.config.NetworkEnabled {
		return nil
	}
	if err := m.load("virtio_net"); err != nil {
		return err
	}
	wanted := network.Config{Interface: contract.Interface, MTU: m.config.MTU}
	err := errors.Join(
		wanted.Add(m.config.GuestIP, m.config.GuestCIDR, m.config.GuestGateway),
		wanted.Add(m.config.GuestIP6, m.config.GuestCIDR6, m.config.GuestGateway6),
	)
	return errors.Join(err, wanted.Apply())
}

// writeNames tells the image who the machine is and whom it asks for names.
func (m *machine) writeNames() error {
	return inNewRoot(func(root *inroot.Root) error {
		err := etcfiles.SetHostname(root, m.config.Hostname, m.config.GuestIP)
		if m.config.NetworkEnabled {
			err = errors.Join(err, etcfiles.WriteResolvConf(root, append([]string{m.config.GuestDNS}, m.config.DNSServers...)))
		}
		return err
	})
}

// mountVolumes mounts what can be mounted: one volume that is missing is the
// application's matter.
func (m *machine) mountVolumes() error {
	list := m.config.VolumeMounts
	if len(list) == 0 {
		return nil
	}
	if slices.ContainsFunc(list, func(v contract.VolumeMount) bool { return v.Mode == contract.VolumeNFS }) {
		if err := m.load("nfsv4"); err != nil {
			m.log.failed("volumes", err)
		}
	}
	// Where one disk is missing, others may be too.
	deadline := time.Now().Add(m.disks.timeout)
	wait := func(device string) error { return m.disks.waitUntil(device, deadline) }
	return inNewRoot(func(root *inroot.Root) error {
		problems := volumes.Mount(root, list, volumes.Disks{Wait: wait, Type: m.diskType})
		for _, problem := range problems {
			m.log.failed("volumes", problem)
		}
		if len(problems) > 0 {
			return fmt.Errorf("%d of %d volumes are missing", len(problems), len(list))
		}
		return nil
	})
}

// inNewRoot calls a function that resolves paths in the image.
func inNewRoot(call func(*inroot.Root) error) (err error) {
	root, err := inroot.Open(newRoot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return call(root)
}
