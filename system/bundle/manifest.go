// Package bundle defines the manifest of an artifact set: what files make up
// the set and what bytes they must have.
//
// It does not find or install sets; package system does.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Version is the version of the manifest's schema.
const Version = 1

// AgentProtocol names the protocol that the agent in the initrd speaks: that of
// the hypeman host of this version, guest/guestpb/guest.proto.
const AgentProtocol = "hypeman-0.0.7"

// Kind says what a file of a set is for.
type Kind string

const (
	Base       Kind = "base"        // the OCI layer that the initrd is made from
	Headers    Kind = "headers"     // what modules for the kernel are built with
	Initrd     Kind = "initrd"      // as the kernel takes it
	Kernel     Kind = "kernel"      // as the hypervisor loads it
	KernelInfo Kind = "kernel-info" // kernel.json: what the kernel is and can
	Provenance Kind = "provenance"  // in-toto statement
	SBOM       Kind = "sbom"        // CycloneDX
)

var (
	kinds    = []Kind{Base, Headers, Initrd, Kernel, KernelInfo, Provenance, SBOM}
	required = []Kind{Initrd, Kernel}
	arches   = []string{"aarch64", "x86_64"}
)

// Manifest is an artifact set: the exact bytes that a machine boots from and
// what a host has to know to boot and talk to it.
type Manifest struct {
	Version       int            `json:"version"`
	AgentProtocol string         `json:"agentProtocol"` // hypeman-0.0.7
	Architectures []Architecture `json:"architectures"`
}

// Architecture is what the set has for one architecture.
type Architecture struct {
	Arch string `json:"arch"` // x86_64 or aarch64
	// CommandLine is the kernel's, to which a host may add.
	CommandLine string `json:"commandLine"`
	Files       []File `json:"files"` // at most one of each kind
}

// File is one file of a set.
type File struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`   // path below the manifest's folder, with slashes
	SHA256 string `json:"sha256"` // 64 lower-case hexadecimal digits
	Size   int64  `json:"size"`   // in bytes
}

// ID is the set's identity, sha256:HEX of its canonical form.
func (m *Manifest) ID() (string, error) {
	data, err := m.MarshalCanonical()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data)), nil
}

// MarshalCanonical gives the manifest its one form as bytes: architectures and
// files in order of their names and kinds, JSON indented by two spaces, a
// newline at the end.
func (m *Manifest) MarshalCanonical() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	sorted := *m
	sorted.Architectures = slices.SortedFunc(slices.Values(m.Architectures), func(a, b Architecture) int { return strings.Compare(a.Arch, b.Arch) })
	for i, arch := range sorted.Architectures {
		sorted.Architectures[i].Files = slices.SortedFunc(slices.Values(arch.Files), func(a, b File) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(sorted)
	return data.Bytes(), err
}

// Parse reads a manifest. An unknown key, kind or architecture, a repeated or
// missing one, a name that leaves the manifest's folder or stands twice, and a
// malformed digest are errors.
func Parse(data []byte) (*Manifest, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("parse manifest: more than one document")
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

func (m *Manifest) validate() error {
	switch {
	case m.Version != Version:
		return fmt.Errorf("manifest has version %d, want %d", m.Version, Version)
	case m.AgentProtocol == "":
		return fmt.Errorf("manifest names no agent protocol")
	case len(m.Architectures) == 0:
		return fmt.Errorf("manifest has no architecture")
	}
	seen := map[string]bool{}
	for i, arch := range m.Architectures {
		if !slices.Contains(arches, arch.Arch) {
			return fmt.Errorf("manifest has arch %q, want x86_64 or aarch64", arch.Arch)
		}
		if slices.ContainsFunc(m.Architectures[:i], func(other Architecture) bool { return other.Arch == arch.Arch }) {
			return fmt.Errorf("manifest has arch %s twice", arch.Arch)
		}
		if err := arch.validate(seen); err != nil {
			return fmt.Errorf("manifest for %s: %w", arch.Arch, err)
		}
	}
	return nil
}

// validate checks the files of an architecture. The names of those before it
// have been seen.
func (a *Architecture) validate(seen map[string]bool) error {
	for i, file := range a.Files {
		if !slices.Contains(kinds, file.Kind) {
			return fmt.Errorf("kind %q is unknown", file.Kind)
		}
		if slices.ContainsFunc(a.Files[:i], func(other File) bool { return other.Kind == file.Kind }) {
			return fmt.Errorf("more than one file is of kind %s", file.Kind)
		}
		if !fs.ValidPath(file.Name) || file.Name == "." {
			return fmt.Errorf("%s has name %q, want a path below the manifest's folder", file.Kind, file.Name)
		}
		if seen[file.Name] {
			return fmt.Errorf("two files have the name %q", file.Name)
		}
		seen[file.Name] = true
		if sum, err := hex.DecodeString(file.SHA256); err != nil || len(sum) != sha256.Size || strings.ToLower(file.SHA256) != file.SHA256 {
			return fmt.Errorf("%s has SHA-256 %q, want 64 lower-case hexadecimal digits", file.Name, file.SHA256)
		}
		if file.Size < 0 {
			return fmt.Errorf("%s has size %d", file.Name, file.Size)
		}
	}
	for _, kind := range required {
		if _, ok := a.File(kind); !ok {
			return fmt.Errorf("no file is of kind %s", kind)
		}
	}
	return nil
}

// Architecture is the part of the set for one architecture, if it has one.
func (m *Manifest) Architecture(arch string) (*Architecture, bool) {
	for i := range m.Architectures {
		if m.Architectures[i].Arch == arch {
			return &m.Architectures[i], true
		}
	}
	return nil, false
}

// File is the file of a kind, if there is one.
func (a *Architecture) File(kind Kind) (File, bool) {
	for _, file := range a.Files {
		if file.Kind == kind {
			return file, true
		}
	}
	return File{}, false
}

// Describe reads a file of the folder and gives its entry in a manifest.
func Describe(fsys fs.FS, kind Kind, name string) (file File, err error) {
	sum, size, err := digest(fsys, name)
	if err != nil {
		return File{}, fmt.Errorf("describe %s: %w", kind, err)
	}
	return File{Kind: kind, Name: name, SHA256: sum, Size: size}, nil
}

// ErrUnsupportedArch is in the chain of the error of an architecture that a set
// has nothing for.
var ErrUnsupportedArch = errors.New("unsupported architecture")

// MismatchError tells of a file that does not have the bytes that its manifest
// says.
type MismatchError struct {
	Want File
	Got  File
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s %s has SHA-256 %s (%d bytes), want %s (%d bytes)",
		e.Want.Kind, e.Want.Name, e.Got.SHA256, e.Got.Size, e.Want.SHA256, e.Want.Size)
}

// Verify reads all files of the architecture from the manifest's folder and
// checks their bytes. The error of one that differs is a *MismatchError.
func (a *Architecture) Verify(fsys fs.FS) error {
	for _, want := range a.Files {
		got, err := Describe(fsys, want.Kind, want.Name)
		if err != nil {
			return err
		}
		if got != want {
			return &MismatchError{Want: want, Got: got}
		}
	}
	return nil
}

func digest(fsys fs.FS, name string) (sum string, size int64, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}
