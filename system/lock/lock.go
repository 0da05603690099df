// Package lock reads and writes artifacts.lock.json, the list of every byte that
// this repository does not hold itself: kernels, headers and base layers, and
// the profiles that name which of them go together.
//
// It fetches nothing and looks at no file: tools/pin does. system/lock.bzl reads
// the same document for Bazel. It uses the standard library only.
package lock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Version is the version of the document's schema.
const Version = 1

// Kind says what an artifact is for.
type Kind string

const (
	Base    Kind = "base"    // file system that the initrd is made from
	Headers Kind = "headers" // of a kernel, to build modules in the guest
	Kernel  Kind = "kernel"
	Package Kind = "package" // of an image that tests run
)

// All is the architecture of an artifact that serves every one of them.
const All = "all"

// Lock is the document. What Parse gives has been checked; what is changed
// afterwards, MarshalCanonical checks.
type Lock struct {
	Profiles  map[string]Profile // by name
	Artifacts []Artifact         // sorted by name, then arch
}

// Profile names artifacts that go together and exist for every architecture.
type Profile struct {
	Base   string `json:"base"`
	Kernel string `json:"kernel"`
}

// Artifact is one file that is fetched. It has either URLs, or Package and Path.
type Artifact struct {
	Name    string   `json:"name"` // [a-z0-9.-]+
	Arch    string   `json:"arch"` // x86_64, aarch64, or all for headers
	Kind    Kind     `json:"kind"`
	Version string   `json:"version"`           // as its publisher writes it
	License string   `json:"license"`           // SPDX license expression
	SHA256  string   `json:"sha256,omitempty"`  // 64 lower-case hexadecimal digits; "" is unpinned
	Size    int64    `json:"size,omitempty"`    // in bytes; 0 where nobody has said
	Package string   `json:"package,omitempty"` // name of the Debian package
	Path    string   `json:"path,omitempty"`    // of the package below a mirror: pool/....deb
	URLs    []string `json:"urls,omitempty"`    // https, of the same bytes, with the same file name
	Headers []string `json:"headers,omitempty"` // of a kernel: names of artifacts, sorted
}

// Pinned reports whether the artifact's bytes are known.
func (a *Artifact) Pinned() bool { return a.SHA256 != "" }

// FileName is the last element of the artifact's path or URLs.
func (a *Artifact) FileName() string {
	if len(a.URLs) > 0 {
		return fileName(a.URLs[0])
	}
	return fileName(a.Path)
}

func fileName(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// Lookup finds the artifact of that name and architecture, or gives nil.
func (l *Lock) Lookup(name, arch string) *Artifact {
	index := slices.IndexFunc(l.Artifacts, func(a Artifact) bool { return a.Name == name && a.Arch == arch })
	if index < 0 {
		return nil
	}
	return &l.Artifacts[index]
}

// Compare gives the order of artifacts in the document.
func Compare(a, b Artifact) int {
	if order := strings.Compare(a.Name, b.Name); order != 0 {
		return order
	}
	return strings.Compare(a.Arch, b.Arch)
}

// MarshalCanonical gives the lock its one form as bytes: keys in the order of
// the fields, profiles in order of their names, indented by two spaces, a newline
// at the end. A lock that Parse would refuse is a *ProblemsError.
func (l *Lock) MarshalCanonical() ([]byte, error) {
	if found := l.check(nil); len(found) > 0 {
		return nil, &ProblemsError{found}
	}
	document := struct {
		Version   int                `json:"version"`
		Profiles  map[string]Profile `json:"profiles"`
		Artifacts []Artifact         `json:"artifacts"`
	}{Version, l.Profiles, l.Artifacts}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return buf.Bytes(), nil
}
