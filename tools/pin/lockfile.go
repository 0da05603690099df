package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/system/lock"
)

// lockFile is the lock as it was read, and as it shall be.
type lockFile struct {
	path      string
	data      []byte // of the file
	canonical []byte // of what it says
	lock      *lock.Lock
}

func readLock(path string) (*lockFile, error) {
	// A link stays one.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("find lock: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	l, err := lock.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	canonical, err := l.MarshalCanonical()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &lockFile{path, data, canonical, l}, nil
}

// write replaces the file, unless it would say the same. Somebody may have
// changed it while files were fetched.
func (f *lockFile) write() error {
	canonical, err := f.lock.MarshalCanonical()
	if err != nil {
		return err
	}
	now, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read lock again: %w", err)
	}
	if !bytes.Equal(now, f.data) {
		return fmt.Errorf("write lock: %s has changed since it was read; run the command again", f.path)
	}
	if bytes.Equal(canonical, f.canonical) {
		return nil
	}
	if err := renameio.WriteFile(f.path, canonical, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// find gives an entry, or an error with those that come near.
func (f *lockFile) find(name, arch string) (*lock.Artifact, error) {
	if artifact := f.lock.Lookup(name, arch); artifact != nil {
		return artifact, nil
	}
	var arches, names []string
	for _, artifact := range f.lock.Artifacts {
		names = append(names, artifact.Name)
		if artifact.Name == name {
			arches = append(arches, artifact.Arch)
		}
	}
	if len(arches) > 0 {
		return nil, fmt.Errorf("artifact %s is not there for %s, but for %s", name, arch, strings.Join(arches, ", "))
	}
	return nil, unknownName(name, names)
}

func unknownName(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("artifact %s is not there: the lock has none", name)
	}
	return fmt.Errorf("artifact %s is not there; there are %s", name, strings.Join(slices.Compact(names), ", "))
}

// insert adds an entry where it belongs.
func (f *lockFile) insert(artifact lock.Artifact) error {
	index, found := slices.BinarySearchFunc(f.lock.Artifacts, artifact, lock.Compare)
	if found {
		return errors.New("it is there already; update refreshes it")
	}
	f.lock.Artifacts = slices.Insert(f.lock.Artifacts, index, artifact)
	return nil
}
