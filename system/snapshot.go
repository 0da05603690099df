package system

import (
	"errors"
	"fmt"
	"strings"
)

// Snapshot is what an instance booted with. A host writes it beside the memory
// that it saves, and asks Compatible before it uses that.
type Snapshot struct {
	Version       int           `json:"version"` // 1
	SetID         string        `json:"setId"`   // sha256:HEX
	Arch          string        `json:"arch"`
	KernelVersion KernelVersion `json:"kernelVersion"`
	KernelSHA256  string        `json:"kernelSha256"` // 64 lower-case hexadecimal digits
	InitrdSHA256  string        `json:"initrdSha256"`
	CommandLine   string        `json:"commandLine"` // the kernel's, all of it
	AgentProtocol string        `json:"agentProtocol"`
	Hypervisor    Hypervisor    `json:"hypervisor"`
}

// Hypervisor is the program that runs the machine.
type Hypervisor struct {
	Name    string `json:"name"`    // cloud-hypervisor, say
	Version string `json:"version"` // as the program says it
}

const snapshotVersion = 1

// Snapshot records a boot of the set.
func (s *Set) Snapshot(commandLine string, hypervisor Hypervisor) *Snapshot {
	return &Snapshot{
		Version:       snapshotVersion,
		SetID:         s.ID,
		Arch:          s.Arch,
		KernelVersion: s.KernelVersion,
		KernelSHA256:  s.KernelSHA256,
		InitrdSHA256:  s.InitrdSHA256,
		CommandLine:   commandLine,
		AgentProtocol: s.AgentProtocol,
		Hypervisor:    hypervisor,
	}
}

// Marshal gives the record as it is stored.
func (s *Snapshot) Marshal() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	return marshal(s)
}

// ParseSnapshot reads a record. An unknown, repeated or missing key is an error:
// what a later version means by it is not known here.
func ParseSnapshot(data []byte) (*Snapshot, error) {
	var s Snapshot
	if err := parseStrict(data, &s); err != nil {
		return nil, fmt.Errorf("parse snapshot record: %w", err)
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	return &s, nil
}

func (s *Snapshot) validate() error {
	if s.Version != snapshotVersion {
		return fmt.Errorf("snapshot record has version %d, want %d", s.Version, snapshotVersion)
	}
	if err := checkID(s.SetID); err != nil {
		return fmt.Errorf("snapshot record: %w", err)
	}
	if err := checkVersion(s.KernelVersion); err != nil {
		return fmt.Errorf("snapshot record: %w", err)
	}
	for _, digest := range []string{s.KernelSHA256, s.InitrdSHA256} {
		if checkID("sha256:"+digest) != nil {
			return fmt.Errorf("snapshot record has SHA-256 %.80q, want 64 lower-case hexadecimal digits", digest)
		}
	}
	if s.Arch == "" || s.AgentProtocol == "" || s.Hypervisor.Name == "" || s.Hypervisor.Version == "" {
		return errors.New("snapshot record lacks arch, agent protocol or hypervisor")
	}
	return nil
}

// Use is what a recorded instance is to be started for.
type Use string

const (
	// Restore goes on with saved memory, after standby or from a snapshot. It takes
	// the very same kernel, initrd and hypervisor.
	Restore Use = "restore"
	// MaintenanceBoot boots the instance's disks anew. It may take another kernel,
	// initrd and hypervisor, if the host can still talk to the agent.
	MaintenanceBoot Use = "maintenance boot"
)

// Difference is one thing in which two sets or hypervisors differ.
type Difference struct {
	What           string // arch, kernel, initrd, hypervisor or agent protocol
	Recorded, Have string
}

// IncompatibleError names all that keeps an instance from being started.
type IncompatibleError struct {
	Use         Use
	SetID       string // that was recorded
	Differences []Difference
}

func (e *IncompatibleError) Error() string {
	var parts []string
	for _, d := range e.Differences {
		parts = append(parts, fmt.Sprintf("%s is %s, recorded is %s", d.What, d.Have, d.Recorded))
	}
	return fmt.Sprintf("%s of an instance of artifact set %s: %s", e.Use, e.SetID, strings.Join(parts, "; "))
}

// Compatible tells whether an instance can be started with a set and a
// hypervisor. If not, the error is an *IncompatibleError.
func Compatible(use Use, recorded *Snapshot, with *Set, hypervisor Hypervisor) error {
	var differences []Difference
	compare := func(what, recorded, have string) {
		if recorded != have {
			differences = append(differences, Difference{what, recorded, have})
		}
	}
	compare("arch", recorded.Arch, with.Arch)
	switch use {
	case Restore:
		compare("kernel", name(recorded.KernelVersion, recorded.KernelSHA256), name(with.KernelVersion, with.KernelSHA256))
		compare("initrd", recorded.InitrdSHA256, with.InitrdSHA256)
		compare("hypervisor", recorded.Hypervisor.String(), hypervisor.String())
	case MaintenanceBoot:
		compare("agent protocol", recorded.AgentProtocol, with.AgentProtocol)
	default:
		return fmt.Errorf("compare sets: use %q is unknown", use)
	}
	if len(differences) > 0 {
		return &IncompatibleError{Use: use, SetID: recorded.SetID, Differences: differences}
	}
	return nil
}

func name(version KernelVersion, digest string) string {
	return fmt.Sprintf("%s (%s)", version, digest)
}

func (h Hypervisor) String() string { return h.Name + " " + h.Version }
