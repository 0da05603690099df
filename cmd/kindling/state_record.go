package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
)

// record is what is known of a machine that was started. Of its environment it
// has the names only, since values are often secrets.
type record struct {
	Name       string    `json:"name"`
	Image      string    `json:"image"` // "" is the set's base system
	Command    []string  `json:"command"`
	Env        []string  `json:"env"`
	StopSignal string    `json:"stop_signal"` // as stopSignal has it
	Set        string    `json:"set"`         // ID of the artifact set
	Arch       string    `json:"arch"`
	Boot       *bootInfo `json:"boot,omitempty"`
	Hypervisor string    `json:"hypervisor"`
	Accel      string    `json:"accel"`
	MemoryMiB  int       `json:"memory_mib"`
	CPUs       int       `json:"cpus"`
	Network    string    `json:"network"`
	Ports      []port    `json:"ports"`
	Volumes    []volume  `json:"volumes"`
	Disks      []disk    `json:"disks"`
	Remove     bool      `json:"remove"`             // nothing is to be kept of it
	Snapshot   string    `json:"snapshot,omitempty"` // folder that it was restored from
	Started    time.Time `json:"started,omitzero"`

	// HypervisorCommands start the same machine by hand; see launcher.commands.
	HypervisorCommands      [][]string `json:"hypervisor_commands"`
	HypervisorCommandsError string     `json:"hypervisor_commands_error,omitempty"` // why there are none

	Ended    *time.Time `json:"ended,omitempty"`
	ExitCode *int       `json:"exit_code,omitempty"` // that of kindling run
	Error    string     `json:"error,omitempty"`
}

// bootInfo is what a machine booted with.
type bootInfo struct {
	KernelVersion system.KernelVersion `json:"kernel_version"`
	KernelSHA256  string               `json:"kernel_sha256"`
	InitrdSHA256  string               `json:"initrd_sha256"`
	CommandLine   string               `json:"command_line"`
	AgentProtocol string               `json:"agent_protocol"`
}

type port struct {
	Host  string `json:"host"` // ADDRESS:PORT
	Guest uint16 `json:"guest"`
}

type disk struct {
	Device   string `json:"device"` // in the guest
	Path     string `json:"path"`   // on the host
	ReadOnly bool   `json:"read_only"`
}

// emptyRecord has lists, if empty ones, for those who read it as JSON.
func emptyRecord(name string) *record {
	return &record{
		Name: name, Command: []string{}, Env: []string{}, Ports: []port{}, Volumes: []volume{}, Disks: []disk{},
		HypervisorCommands: [][]string{},
	}
}

func newRecord(r *request, set *system.Set, spec *vm.Spec, argv, env []string, volumes []volume) *record {
	made := emptyRecord(r.Name)
	made.Image, made.Set, made.Arch, made.Network, made.Remove = r.Image, set.ID, set.Arch, r.Network, r.Remove
	made.Boot = &bootInfo{set.KernelVersion, set.KernelSHA256, set.InitrdSHA256, spec.Cmdline, set.AgentProtocol}
	made.MemoryMiB, made.CPUs, made.Snapshot = r.Memory, r.CPUs, r.Snapshot
	made.Command = append(made.Command, argv...)
	made.Env = append(made.Env, env...)
	made.Volumes = append(made.Volumes, volumes...)
	for _, forward := range spec.Forwards {
		made.Ports = append(made.Ports, port{forward.Host.String(), forward.Guest})
	}
	for i, d := range spec.Disks {
		made.Disks = append(made.Disks, disk{contract.DiskName(i), d.Path, d.ReadOnly})
	}
	return made
}

// end notes how the machine ended, by the error that kindling run ends with.
func (r *record) end(err error) {
	now := time.Now().UTC()
	code, text := ending(err)
	r.Ended, r.ExitCode, r.Error = &now, &code, text
}

func (r *record) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(dir, recordFile), append(data, '\n'), 0o600, renameio.WithTempDir(dir))
	}
	if err != nil {
		return fmt.Errorf("write record of machine %s: %w", r.Name, err)
	}
	return nil
}

// readRecord reads the record in a machine's folder. The error is fs.ErrNotExist
// of a machine that has not been started.
func readRecord(dir string) (*record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, fmt.Errorf("read record of machine: %w", err)
	}
	r := emptyRecord("") // one that an earlier version wrote has fewer lists
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read record of machine: parse %s: %w", filepath.Join(dir, recordFile), err)
	}
	return r, nil
}

// States of a machine.
const (
	stateStarting = "starting" // its image is read, its disks are written
	stateRunning  = "running"
	statePaused   = "paused" // it runs, but its processors stand still
	stateExited   = "exited"
	stateLost     = "lost" // its process was killed, and so it was as well
)

// machine is a machine as ps and inspect print it.
type machine struct {
	record
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"` // of its process, while that lives
}

// findMachines gives all machines, sorted by name: those that run, and of other
// names the latest.
func findMachines(state string) (machines []machine, err error) {
	unlock, err := lockClaims(state)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	found := map[string]machine{}
	for _, folder := range []string{locksFolder, endedFolder} {
		entries, err := os.ReadDir(filepath.Join(state, folder))
		if err != nil {
			return nil, fmt.Errorf("find machines: %w", err)
		}
		for _, entry := range entries {
			name := entry.Name()
			if _, ok := found[name]; ok || !machineName.MatchString(name) {
				continue
			}
			m, err := readMachine(state, name)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue // none was started, or it is another user's
			}
			if err != nil {
				return nil, err
			}
			found[name] = *m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		machines = append(machines, found[name])
	}
	return machines, nil
}

// findMachine gives the machine of a name: the one that runs, else the latest.
func findMachine(state, name string) (_ *machine, err error) {
	unlock, err := lockClaims(state)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	m, err := readMachine(state, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no machine is called %s", name)
	}
	return m, err
}

// readMachine needs the lock of claims.
func readMachine(state, name string) (*machine, error) {
	path := filepath.Join(state, locksFolder, name)
	lock, err := lockFile(path, 0)
	alive := errors.Is(err, unix.EWOULDBLOCK)
	switch {
	case err == nil:
		if err := lock.Close(); err != nil {
			return nil, fmt.Errorf("find machine %s: %w", name, err)
		}
	case !alive && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("find machine %s: %w", name, err)
	}
	m := &machine{}
	if alive {
		if m.PID, err = lockOwner(path); err != nil {
			return nil, fmt.Errorf("find machine %s: %w", name, err)
		}
	}
	r, err := readRecord(filepath.Join(state, machinesFolder, name))
	switch {
	case errors.Is(err, fs.ErrNotExist) && alive:
		m.record, m.State = *emptyRecord(name), stateStarting
		return m, nil
	case errors.Is(err, fs.ErrNotExist):
		r, err = readRecord(filepath.Join(state, endedFolder, name))
	}
	if err != nil {
		return nil, err
	}
	m.record, m.State = *r, stateLost
	switch {
	case alive:
		m.State = stateRunning
	case r.Ended != nil:
		m.State = stateExited
	}
	return m, nil
}

// lockOwner is the number of the process that holds a machine's lock.
func lockOwner(path string) (pid int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return 0, fmt.Errorf("parse %s: %w", path, err)
	}
	return pid, nil
}
