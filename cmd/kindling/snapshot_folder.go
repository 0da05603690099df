package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// Files of a snapshot folder. The manifest is written last, and then the folder
// gets its name.
const (
	manifestFile = "snapshot.json"
	memoryFile   = "memory"
)

const snapshotVersion = 1

// snapshot is the manifest of a snapshot folder. Of the environment it has the
// names only; the memory has the values as well.
type snapshot struct {
	Version   int             `json:"version"` // 1
	Taken     time.Time       `json:"taken"`
	Boot      json.RawMessage `json:"boot"` // a system.Snapshot
	Accel     string          `json:"accel"`
	MemoryMiB int             `json:"memory_mib"`
	CPUs      int             `json:"cpus"`
	Network   string          `json:"network"`
	// StopSignal is that of the record; a snapshot of an older kindling has none.
	StopSignal string `json:"stop_signal,omitempty"`

	// Of these only people read:
	Name    string   `json:"name"` // of the machine
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Env     []string `json:"env"`
	Volumes []volume `json:"volumes"`

	Memory snapshotFile   `json:"memory"`
	Disks  []snapshotDisk `json:"disks"`
}

// snapshotFile is a file of the folder.
type snapshotFile struct {
	File string `json:"file"`
	Size int64  `json:"size"` // bytes
	// Digest is the SHA-256 of all blocks of 64 KiB that are not all zeros, each
	// behind its offset of 8 bytes, the highest first: 64 lower-case hexadecimal
	// digits.
	Digest string `json:"digest"`
}

type snapshotDisk struct {
	snapshotFile
	ReadOnly bool `json:"read_only"`
}

func diskFile(i int) string { return fmt.Sprintf("disk-%d", i) }

// writeSnapshot makes a snapshot folder, of which fill writes the files other than
// the manifest. It is there complete or not at all.
func writeSnapshot(target string, fill func(dir string) (*snapshot, error)) (err error) {
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("%s exists", target)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, base := filepath.Split(target)
	dir, err := os.MkdirTemp(parent, "."+base+".partial-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	s, err := fill(dir)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	manifest := filepath.Join(dir, manifestFile)
	if err := os.WriteFile(manifest, append(data, '\n'), 0o600); err != nil {
		return err
	}
	if err := errors.Join(syncFile(manifest), syncFile(dir)); err != nil {
		return err
	}
	if err := os.Rename(dir, target); err != nil {
		return err
	}
	return syncFile(parent)
}

// syncFile has the disk take a file or folder.
func syncFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// readSnapshot reads the manifest of a snapshot folder, and what the machine
// booted with.
func readSnapshot(dir string) (*snapshot, *system.Snapshot, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	s := &snapshot{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(s); err != nil {
		return nil, nil, fmt.Errorf("read snapshot: parse %s: %w", filepath.Join(dir, manifestFile), err)
	}
	err = s.validate()
	var boot *system.Snapshot
	if err == nil {
		boot, err = system.ParseSnapshot(s.Boot)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot %s: %w", dir, err)
	}
	return s, boot, nil
}

func (s *snapshot) validate() error {
	switch {
	case s.Version != snapshotVersion:
		return fmt.Errorf("its manifest has version %d, want %d", s.Version, snapshotVersion)
	case s.Accel != string(qemu.KVM) && s.Accel != string(qemu.TCG):
		return fmt.Errorf("its machine ran by %q, want kvm or tcg", s.Accel)
	case s.Network != networkUser && s.Network != networkNone:
		return fmt.Errorf("its machine had network %q, want user or none", s.Network)
	case s.MemoryMiB < 1 || s.CPUs < 1:
		return fmt.Errorf("its machine had %d MiB and %d CPUs, want at least 1", s.MemoryMiB, s.CPUs)
	case s.StopSignal != "" && s.StopSignal != systemdStop && !isForwarded(s.StopSignal):
		return fmt.Errorf("its machine had stop signal %q, which cannot reach its command", s.StopSignal)
	case s.Memory.File != memoryFile:
		return fmt.Errorf("its memory is in %q, want %s", s.Memory.File, memoryFile)
	}
	for i, disk := range s.Disks {
		if disk.File != diskFile(i) {
			return fmt.Errorf("disk %d is in %q, want %s", i, disk.File, diskFile(i))
		}
	}
	return nil
}

// copyTo checks a file of a snapshot folder, and copies it where target is not
// empty.
func (f snapshotFile) copyTo(ctx context.Context, dir, target string) error {
	source := filepath.Join(dir, f.File)
	got, err := copySparse(ctx, target, source)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if got.Size != f.Size || got.Digest != f.Digest {
		return fmt.Errorf("read snapshot: %s has %d bytes and digest %s, want %d and %s", source, got.Size, got.Digest, f.Size, f.Digest)
	}
	return nil
}
