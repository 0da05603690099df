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
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Version is the version of the manifest's schema.
const Version = 1

// Kind says what a file of a set is for.
type Kind string

const (
	Base   Kind = "base"   // the OCI layer that the initrd is made from
	Initrd Kind = "initrd" // as the kernel takes it
	Kernel Kind = "kernel" // as the hypervisor loads it
)

var kinds = []Kind{Base, Initrd, Kernel}

// Manifest lists the files of the artifact set of one architecture, one of each
// kind.
type Manifest struct {
	Version int    `json:"version"`
	Arch    string `json:"arch"` // x86_64
	Files   []File `json:"files"`
}

// File is one file of a set.
type File struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`   // file name, in the manifest's folder
	SHA256 string `json:"sha256"` // 64 lower-case hexadecimal digits
	Size   int64  `json:"size"`   // in bytes
}

// MarshalCanonical gives the manifest its one form as bytes: files in order of
// their kinds, JSON indented by two spaces, a newline at the end.
func (m *Manifest) MarshalCanonical() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	sorted := *m
	sorted.Files = slices.SortedFunc(slices.Values(m.Files), func(a, b File) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	data, err := json.MarshalIndent(sorted, "", "  ")
	return append(data, '\n'), err
}

// Parse reads a manifest. An unknown key or kind, a missing or repeated kind, a
// name that is a path, and a malformed digest are errors.
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
	if m.Version != Version {
		return fmt.Errorf("manifest has version %d, want %d", m.Version, Version)
	}
	if m.Arch != "x86_64" && m.Arch != "aarch64" {
		return fmt.Errorf("manifest has arch %q, want x86_64 or aarch64", m.Arch)
	}
	for _, kind := range kinds {
		if count := len(m.filesOf(kind)); count != 1 {
			return fmt.Errorf("manifest has %d files of kind %s, want 1", count, kind)
		}
	}
	for _, file := range m.Files {
		if !slices.Contains(kinds, file.Kind) {
			return fmt.Errorf("manifest has unknown kind %q", file.Kind)
		}
		if !filepath.IsLocal(file.Name) || file.Name != filepath.Base(file.Name) || file.Name == "." {
			return fmt.Errorf("manifest has %s %q, want a file name", file.Kind, file.Name)
		}
		if sum, err := hex.DecodeString(file.SHA256); err != nil || len(sum) != sha256.Size || strings.ToLower(file.SHA256) != file.SHA256 {
			return fmt.Errorf("manifest has SHA-256 %q for %s, want 64 lower-case hexadecimal digits", file.SHA256, file.Name)
		}
		if file.Size < 0 {
			return fmt.Errorf("manifest has size %d for %s", file.Size, file.Name)
		}
	}
	return nil
}

// File is the set's file of a kind.
func (m *Manifest) File(kind Kind) File {
	return m.filesOf(kind)[0]
}

func (m *Manifest) filesOf(kind Kind) []File {
	var files []File
	for _, file := range m.Files {
		if file.Kind == kind {
			files = append(files, file)
		}
	}
	return files
}

// Describe reads a file and gives its entry in a manifest.
func Describe(fsys fs.FS, kind Kind, name string) (file File, err error) {
	sum, size, err := digest(fsys, name)
	if err != nil {
		return File{}, fmt.Errorf("describe %s: %w", kind, err)
	}
	return File{Kind: kind, Name: filepath.Base(name), SHA256: sum, Size: size}, nil
}

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

// Verify reads all files of the set from the folder and checks their bytes. The
// error of one that differs is a *MismatchError.
func (m *Manifest) Verify(fsys fs.FS) error {
	for _, want := range m.Files {
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
