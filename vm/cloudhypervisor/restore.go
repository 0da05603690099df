package cloudhypervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kindling-vm/kindling/vm"
)

const (
	// configName is the machine's description within what Save writes. The other
	// files are its state (docs/snapshot_restore.md of the program's sources).
	configName = "config.json"
	// restoreName is a folder of a restored machine: the snapshot, with the paths
	// of that machine.
	restoreName = "restore"
)

// Restore starts a machine from the state in a folder that Save wrote of one
// with the same spec, but for its folder, its serial output, its tap device and
// its disks, which are copies of those of the snapshot. The context ID is that
// of the snapshot, which the guest knows. It returns when the machine runs on.
func Restore(ctx context.Context, spec vm.Spec, name string) (*Machine, error) {
	m, err := start(ctx, spec, func(m *Machine) error { return m.restore(ctx, spec, name) })
	if err != nil {
		return nil, fmt.Errorf("restore machine: %w", err)
	}
	return m, nil
}

func (m *Machine) restore(ctx context.Context, spec vm.Spec, name string) error {
	name, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	source, err := filepath.Abs(filepath.Join(spec.Dir, restoreName))
	if err != nil {
		return err
	}
	if err := adaptSnapshot(spec, name, source); err != nil {
		return fmt.Errorf("read snapshot %s: %w", name, err)
	}
	if err := m.client.put(ctx, "vm.restore", map[string]string{"source_url": "file://" + source}); err != nil {
		return err
	}
	return m.client.put(ctx, "vm.resume", nil)
}

// adaptSnapshot makes a folder that is a snapshot with the paths of a machine.
// All but the description are links.
func adaptSnapshot(spec vm.Spec, name, adapted string) error {
	entries, err := os.ReadDir(name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(adapted, 0o700); err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == configName {
			continue
		}
		if err := os.Symlink(filepath.Join(name, entry.Name()), filepath.Join(adapted, entry.Name())); err != nil {
			return err
		}
	}
	config, err := os.ReadFile(filepath.Join(name, configName))
	if err != nil {
		return err
	}
	if config, err = adaptConfig(spec, config); err != nil {
		return fmt.Errorf("adapt %s: %w", configName, err)
	}
	return os.WriteFile(filepath.Join(adapted, configName), config, 0o600)
}

// savedConfig is what a restored machine's description is checked for or
// changed in. All else stays as it is, and the program's versions differ in it.
type savedConfig struct {
	CPUs struct {
		Boot int `json:"boot_vcpus"`
	} `json:"cpus"`
	Memory memoryConfig     `json:"memory"`
	Disks  []map[string]any `json:"disks"`
	Net    []map[string]any `json:"net"`
	Vsock  map[string]any   `json:"vsock"`
}

func adaptConfig(spec vm.Spec, text []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	var saved savedConfig
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // they are kept as they are
	if err := decoder.Decode(&saved); err != nil {
		return nil, err
	}
	want := configOf(spec)
	switch {
	case saved.Memory != want.Memory || saved.CPUs.Boot != want.CPUs.Boot:
		return nil, fmt.Errorf("machine had %d bytes of memory and %d processors, want %d and %d",
			saved.Memory.Size, saved.CPUs.Boot, want.Memory.Size, want.CPUs.Boot)
	case len(saved.Disks) != len(want.Disks):
		return nil, fmt.Errorf("machine had %d disks, want %d", len(saved.Disks), len(want.Disks))
	case len(saved.Net) != len(want.Net):
		return nil, fmt.Errorf("machine had %d interfaces, want %d", len(saved.Net), len(want.Net))
	}
	changes := map[string]any{}
	change := func(section string, in map[string]any, key, value string) error {
		if in == nil {
			return fmt.Errorf("machine has no %s", section)
		}
		in[key] = value
		return nil
	}
	for i, disk := range want.Disks {
		if err := change("disk", saved.Disks[i], "path", disk.Path); err != nil {
			return nil, err
		}
		changes["disks"] = saved.Disks
	}
	for i, network := range want.Net {
		if err := change("interface", saved.Net[i], "tap", network.Tap); err != nil {
			return nil, err
		}
		changes["net"] = saved.Net
	}
	if err := change("vsock", saved.Vsock, "socket", want.Vsock.Socket); err != nil {
		return nil, err
	}
	changes["vsock"] = saved.Vsock
	for key, value := range changes {
		changed, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		all[key] = changed
	}
	return json.Marshal(all)
}
