package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Verified is what Verify found of a file.
type Verified struct {
	ID   string // of the set
	Arch string
	File bundle.File
	Path string
	// Err is nil where the file is what it should be, also where it was replaced
	// because it was not: then Repaired is set.
	Err      error
	Repaired bool
}

// Verify reads all files of installed sets, or of one where an ID is named, for the
// architectures that they were installed for. What is corrupt goes to quarantine; where there are sources, it and what is missing
// is got again. The error joins what is wrong at the end.
func (s *Store) Verify(ctx context.Context, ids ...string) (files []Verified, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		if len(ids) == 0 {
			if ids, err = installedIDs(d); err != nil {
				return err
			}
		}
		var failed []error
		for _, id := range ids {
			found, err := s.verify(ctx, d, id)
			files = append(files, found...)
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) {
		err = nil // there is no data directory
		if len(ids) > 0 {
			err = &NotInstalledError{ID: ids[0]}
		}
	}
	if err != nil {
		return files, fmt.Errorf("verify: %w", err)
	}
	return files, nil
}

func (s *Store) verify(ctx context.Context, d *datadir.Dir, id string) ([]Verified, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	m, err := readSet(d, id)
	if err != nil {
		return nil, err
	}
	asked, err := readAsked(d, id, m)
	if err != nil {
		return nil, err
	}
	var files []Verified
	var broken []string // architectures
	for i := range m.Architectures {
		a := &m.Architectures[i]
		if !expected(d, asked, a) {
			continue
		}
		ok := true
		for _, file := range a.Files {
			name := location(a.Arch, file)
			_, err := s.use(ctx, d, name, wanted{sha256: file.SHA256, full: true})
			if errors.Is(err, fs.ErrNotExist) {
				err = &NotInstalledError{ID: id, Arch: a.Arch, Missing: []string{string(file.Kind)}}
			}
			ok = ok && err == nil
			files = append(files, Verified{ID: id, Arch: a.Arch, File: file, Path: d.Path(name), Err: err})
		}
		if !ok {
			broken = append(broken, a.Arch)
		}
	}
	if len(broken) > 0 && len(s.options.Sources) > 0 {
		if _, err := s.Install(ctx, id, broken...); err != nil {
			return files, errors.Join(wrong(files), err)
		}
		for i := range files {
			file := &files[i]
			if file.Err != nil {
				_, file.Err = s.check(ctx, d, location(file.Arch, file.File), wanted{sha256: file.File.SHA256})
				file.Repaired = file.Err == nil
			}
		}
	}
	return files, wrong(files)
}

func wrong(files []Verified) error {
	var failed []error
	for _, file := range files {
		failed = append(failed, file.Err)
	}
	return errors.Join(failed...)
}
