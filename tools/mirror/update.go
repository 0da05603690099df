package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// update has a folder hold these sources and nothing else. While it is at work
// there is no manifest, so that half a mirror is never taken for a whole one.
func update(dir string, sources []source, stderr io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := checkOwn(dir); err != nil {
		return err
	}
	old, _, err := mirror.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		old = &mirror.Manifest{}
	} else if err != nil {
		fmt.Fprintf(stderr, "mirror: making all again: %v\n", err)
		old = &mirror.Manifest{}
	}
	manifestPath := filepath.Join(dir, mirror.ManifestName)
	if err := os.Remove(manifestPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove manifest: %w", err)
	}
	manifest := &mirror.Manifest{}
	for _, s := range sources {
		file, err := bring(dir, s, old)
		if err != nil {
			return err
		}
		manifest.Files = append(manifest.Files, file)
	}
	data, err := manifest.MarshalCanonical()
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := dropUnlisted(dir, manifest); err != nil {
		return err
	}
	err = renameio.WriteFile(manifestPath, data, 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(dir))
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// checkOwn refuses a folder that has anything else in it: files go from there.
func checkOwn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := strings.TrimPrefix(entry.Name(), ".") // what a killed run left
		isOwn := name == mirror.Distdir || name == mirror.GoProxy || strings.HasPrefix(name, mirror.ManifestName) ||
			strings.HasPrefix(name, "root-") && strings.Contains(name, mirror.RootArchive(""))
		if !isOwn {
			return fmt.Errorf("%s is in it, which is not of a mirror", entry.Name())
		}
	}
	return nil
}

// bring puts a file into its place unless it is there, intact.
func bring(dir string, s source, old *mirror.Manifest) (mirror.File, error) {
	if known, listed := old.Lookup(s.path); listed && mirror.VerifyFile(dir, known) == nil {
		same, err := s.stillIs(known)
		if err != nil {
			return mirror.File{}, fmt.Errorf("compare %s: %w", s.path, err)
		}
		if same {
			return known, nil
		}
	}
	file, err := write(filepath.Join(dir, s.path), s.write)
	if err != nil {
		return mirror.File{}, fmt.Errorf("write %s: %w", s.path, err)
	}
	file.Path = s.path
	return file, nil
}

func write(name string, content func(io.Writer) error) (_ mirror.File, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return mirror.File{}, err
	}
	folder := filepath.Dir(name)
	pending, err := renameio.NewPendingFile(name, renameio.WithTempDir(folder), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return mirror.File{}, err
	}
	defer func() { err = errors.Join(err, pending.Cleanup()) }()
	sum := sha256.New()
	if err := content(io.MultiWriter(pending, sum)); err != nil {
		return mirror.File{}, err
	}
	info, err := pending.Stat()
	if err != nil {
		return mirror.File{}, err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return mirror.File{}, err
	}
	return mirror.File{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: info.Size()}, nil
}

// dropUnlisted removes what is not of this mirror, and the folders that this
// leaves empty.
func dropUnlisted(dir string, manifest *mirror.Manifest) error {
	unlisted, err := unlistedFiles(dir, manifest)
	if err != nil {
		return err
	}
	for _, name := range unlisted {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove what is not needed: %w", err)
		}
		for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
			entries, err := os.ReadDir(filepath.Join(dir, parent))
			if err != nil {
				return fmt.Errorf("remove what is not needed: %w", err)
			}
			if len(entries) > 0 {
				break
			}
			if err := os.Remove(filepath.Join(dir, parent)); err != nil {
				return fmt.Errorf("remove what is not needed: %w", err)
			}
		}
	}
	return nil
}
