package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Resolve gives the installed set with exactly that ID, for an architecture or,
// where arch is empty, for this machine. Its files are the ones that were built:
// those that have changed since they were last read are read again. It asks no
// source and takes no lock.
//
// The error of what is missing is a *NotInstalledError, that of a file with
// other bytes a *CorruptError; Install gets either again. That of an architecture
// that the set is not for is bundle.ErrUnsupportedArch.
func (s *Store) Resolve(ctx context.Context, id, arch string) (set *Set, err error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("resolve %w", err)
	}
	err = s.reading(ctx, func(d *datadir.Dir) error {
		set, err = s.resolve(ctx, d, id, arch)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) {
		err = &NotInstalledError{ID: id} // there is no data directory
	}
	if err != nil {
		return nil, fmt.Errorf("resolve artifact set: %w", err)
	}
	return set, nil
}

func isNotInstalled(err error) bool {
	_, ok := errors.AsType[*NotInstalledError](err)
	return ok
}

func (s *Store) resolve(ctx context.Context, d *datadir.Dir, id, arch string) (*Set, error) {
	if arch == "" {
		arch = GetArch()
	}
	m, err := readSet(d, id)
	if err != nil {
		return nil, err
	}
	a, ok := m.Architecture(arch)
	if !ok {
		return nil, fmt.Errorf("%w: %s has nothing for %s", bundle.ErrUnsupportedArch, id, arch)
	}
	var missing []string
	var failed []error
	for _, file := range a.Files {
		_, err := s.use(ctx, d, location(arch, file), wanted{sha256: file.SHA256})
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, string(file.Kind))
		} else if err != nil {
			failed = append(failed, err)
		}
	}
	if len(missing) > 0 {
		failed = append(failed, &NotInstalledError{ID: id, Arch: arch, Missing: missing})
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	info, err := kernelInfo(d, a)
	if err != nil {
		return nil, err
	}
	return newSet(id, m, a, info, func(file bundle.File) string { return d.Path(location(arch, file)) }), nil
}

// kernelInfo reads what the set says of its kernel, which may be nothing.
func kernelInfo(d *datadir.Dir, a *bundle.Architecture) (*bundle.KernelDescription, error) {
	file, ok := a.File(bundle.KernelInfo)
	if !ok {
		return nil, nil
	}
	data, err := d.ReadFile(location(a.Arch, file), documentsLimit)
	if err != nil {
		return nil, err
	}
	return bundle.ParseKernelDescription(data)
}

// Held is a set that Collect leaves alone, whatever its roots are, until Close or
// the end of the process.
type Held struct {
	*Set
	file *os.File
}

// Close gives the set back.
func (h *Held) Close() error { return h.file.Close() }

// Hold resolves a set and keeps it from being collected. Reading is all that it
// needs to be allowed.
func (s *Store) Hold(ctx context.Context, id, arch string) (held *Held, err error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("hold %w", err)
	}
	err = s.reading(ctx, func(d *datadir.Dir) (err error) {
		file, err := d.Hold(ctx, manifestPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			return &NotInstalledError{ID: id}
		}
		if err != nil {
			return err
		}
		set, err := s.resolve(ctx, d, id, arch)
		if err != nil {
			return errors.Join(err, file.Close())
		}
		held = &Held{set, file}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) {
		err = &NotInstalledError{ID: id} // there is no data directory
	}
	if err != nil {
		return nil, fmt.Errorf("hold artifact set %s: %w", id, err)
	}
	return held, nil
}

// Latest gives the ID of the set that SetLatest or EnsureSystemFiles put in place
// last. An instance records the ID and resolves that from then on.
func (s *Store) Latest(ctx context.Context) (id string, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		id, err = readLatest(d)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) {
		err = &NotInstalledError{}
	}
	if err != nil {
		return "", fmt.Errorf("find latest artifact set: %w", err)
	}
	return id, nil
}

// LatestWithKernel gives the ID of the set that was installed, or asked for, last
// of those that are complete for an architecture and have that kernel. As with
// Latest, an instance records the ID.
//
// The error of a kernel that no set has is a *NotInstalledError.
func (s *Store) LatestWithKernel(ctx context.Context, version KernelVersion, arch string) (id string, err error) {
	if err := checkVersion(version); err != nil {
		return "", err
	}
	err = s.reading(ctx, func(d *datadir.Dir) error {
		id, err = withKernel(d, version, arch)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) || err == nil && id == "" {
		err = &NotInstalledError{Kernel: version, Arch: arch}
	}
	if err != nil {
		return "", fmt.Errorf("find artifact set: %w", err)
	}
	return id, nil
}

func withKernel(d *datadir.Dir, version KernelVersion, arch string) (id string, err error) {
	sets, err := list(d)
	if err != nil {
		return "", err
	}
	var installed time.Time
	for _, set := range sets {
		if !slices.Contains(set.Arches, arch) || id != "" && !set.Installed.After(installed) {
			continue
		}
		m, err := readSet(d, set.ID)
		if err != nil {
			return "", err
		}
		a, _ := m.Architecture(arch)
		info, err := kernelInfo(d, a)
		if err != nil {
			return "", err
		}
		if file, _ := a.File(bundle.Kernel); kernelVersion(file, arch, info) == version {
			id, installed = set.ID, set.Installed
		}
	}
	return id, nil
}

// SetLatest makes an installed set the latest one, also at the paths that
// hypeman's host knows: kernel/{version}/{arch}/vmlinux and initrd/{arch}/latest,
// these for the architectures that are complete, of which there must be one; those
// that the set was installed for must be. Who reads the link sees the old set or
// the new one. A set that is the latest already is left alone.
func (s *Store) SetLatest(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("set latest %w", err)
	}
	err := s.adding(ctx, func(d *datadir.Dir) error { return s.setLatest(ctx, d, id) })
	if err != nil {
		return fmt.Errorf("set latest artifact set %s: %w", id, err)
	}
	return nil
}

func (s *Store) setLatest(ctx context.Context, d *datadir.Dir, id string) (err error) {
	lock, err := d.Lock(ctx, latestLock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	m, err := readSet(d, id)
	if err != nil {
		return err
	}
	asked, err := readAsked(d, id, m)
	if err != nil {
		return err
	}
	var installed []*bundle.Architecture
	for i := range m.Architectures {
		if a := &m.Architectures[i]; slices.Contains(asked, a.Arch) || hasAll(d, a) {
			set, err := s.resolve(ctx, d, id, a.Arch)
			if err != nil {
				return err
			}
			if err := s.linkKernel(ctx, d, set); err != nil {
				return err
			}
			installed = append(installed, a)
		}
	}
	if len(installed) == 0 {
		return &NotInstalledError{ID: id}
	}
	if err := flip(d, path.Join(setsDir, latestName), strings.TrimPrefix(id, "sha256:")); err != nil {
		return err
	}
	for _, a := range installed {
		file, _ := a.File(bundle.Initrd)
		if err := flip(d, path.Join(initrdDir, a.Arch, latestName), digestPrefix+file.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// hasAny reports whether a file of the architecture is in place.
func hasAny(d *datadir.Dir, a *bundle.Architecture) bool {
	for _, file := range a.Files {
		if _, err := d.Stat(location(a.Arch, file)); err == nil {
			return true
		}
	}
	return false
}

// hasAll reports whether all files of the architecture are in place. Some may be
// there for another set.
func hasAll(d *datadir.Dir, a *bundle.Architecture) bool {
	for _, file := range a.Files {
		if _, err := d.Stat(location(a.Arch, file)); err != nil {
			return false
		}
	}
	return true
}

// flip replaces a link, unless it leads there already.
func flip(d *datadir.Dir, name, target string) error {
	was, err := d.ReadLink(name)
	if err == nil && was == target {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.Symlink(target, name)
}

// versionPath is where hypeman's host has a kernel.
func versionPath(version KernelVersion, arch string) string {
	return path.Join(kernelDir, string(version), arch, kernelFile)
}

// linkKernel gives the kernel of a set the name of its version. It is a second
// name of the same file, and a copy where the file system has no such.
func (s *Store) linkKernel(ctx context.Context, d *datadir.Dir, set *Set) error {
	name := versionPath(set.KernelVersion, set.Arch)
	from := path.Join(kernelDir, digestPrefix+set.KernelSHA256, set.Arch, kernelFile)
	if name == from {
		return nil
	}
	want := wanted{sha256: set.KernelSHA256}
	_, err := s.check(ctx, d, name, want)
	if err == nil {
		return nil
	}
	if _, corrupt := errors.AsType[*CorruptError](err); !corrupt && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What a hypeman host left keeps its name, as instances know it by no other: the
	// set's goes by its digest then. An older build of a set does from now on.
	if there, err := s.check(ctx, d, name, wanted{}); err == nil && !there.Pinned {
		return nil
	}
	if err := d.Link(from, name); err != nil {
		return err
	}
	for _, name := range []string{from, name} { // a link changes the times of both
		if _, err := s.check(ctx, d, name, want); err != nil {
			return err
		}
	}
	return nil
}

// Installed is a set in the data directory.
type Installed struct {
	ID        string    `json:"id"`
	Arches    []string  `json:"arches"`          // those that are complete
	Asked     []string  `json:"asked,omitempty"` // those that it was installed for; none where that was not noted
	Size      int64     `json:"size"`            // bytes of its files, also where other sets have them too
	Latest    bool      `json:"latest"`          // whether it is the latest one
	Installed time.Time `json:"installed"`       // when it was installed, or asked for, last
}

// List gives the sets of the data directory in order of their IDs. It does not
// verify them.
func (s *Store) List(ctx context.Context) (sets []Installed, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		sets, err = list(d)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list artifact sets: %w", err)
	}
	return sets, nil
}

func list(d *datadir.Dir) ([]Installed, error) {
	ids, err := setIDs(d)
	if err != nil {
		return nil, err
	}
	latest, err := readLatest(d)
	if err != nil && !isNotInstalled(err) {
		return nil, err
	}
	var sets []Installed
	for _, id := range ids {
		info, err := d.Stat(manifestPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
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
		set := Installed{ID: id, Asked: asked, Latest: id == latest, Installed: info.ModTime()}
		for i := range m.Architectures {
			a := &m.Architectures[i]
			complete := true
			for _, file := range a.Files {
				info, err := d.Stat(location(a.Arch, file))
				if err != nil {
					complete = false
					continue
				}
				set.Size += info.Size()
			}
			if complete {
				set.Arches = append(set.Arches, a.Arch)
			}
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// installedIDs gives the IDs of the sets that have their manifest, in order: who
// died installing another one, or collecting it, may have left its folder.
func installedIDs(d *datadir.Dir) (ids []string, err error) {
	all, err := setIDs(d)
	if err != nil {
		return nil, err
	}
	for _, id := range all {
		if _, err := d.Stat(manifestPath(id)); err == nil {
			ids = append(ids, id)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return ids, nil
}

// setIDs gives the IDs of all sets, in order. What else is in their folder is an
// error: nobody knows what it is.
func setIDs(d *datadir.Dir) ([]string, error) {
	names, err := d.List(setsDir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		if name == latestName {
			continue
		}
		id := "sha256:" + name
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("read %s: it is no set", d.Path(path.Join(setsDir, name)))
		}
		ids = append(ids, id)
	}
	return ids, nil
}
