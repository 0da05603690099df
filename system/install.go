package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Installation is what Install did.
type Installation struct {
	ID      string
	Fetched []string // paths of the files that were missing or corrupt, in order; none if all was there
	Bytes   int64    // of these files
}

// Install puts the files of a set in place for some architectures, that of this
// machine where none is named. An empty id is the set that the first source
// offers. What is there already is kept; what is corrupt is replaced.
//
// When it returns, all of it is on the disk; if it fails or the machine stops,
// the set is as absent or complete as before.
func (s *Store) Install(ctx context.Context, id string, arches ...string) (*Installation, error) {
	if len(arches) == 0 {
		arches = []string{GetArch()}
	}
	in := &installation{Store: s, id: id, arches: arches}
	err := in.run(ctx)
	if err != nil && in.id == "" {
		return nil, fmt.Errorf("install artifact set: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("install artifact set %s: %w", in.id, err)
	}
	slices.Sort(in.fetched)
	return &Installation{ID: in.id, Fetched: in.fetched, Bytes: in.bytes}, nil
}

// Preload installs several sets. One that cannot be had does not keep the others
// from being installed; the errors of all are joined.
func (s *Store) Preload(ctx context.Context, ids []string, arches ...string) error {
	var failed []error
	for _, id := range ids {
		if _, err := s.Install(ctx, id, arches...); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// installation is one call of Install.
type installation struct {
	*Store
	id       string
	arches   []string
	manifest *bundle.Manifest

	mu      sync.Mutex // for what follows, and calls of Progress
	fetched []string   // paths
	placed  []string   // names of the same
	bytes   int64
}

// item is a file to install.
type item struct {
	arch string
	file bundle.File
	name string // location
}

func (in *installation) run(ctx context.Context) error {
	if in.id == "" {
		if err := in.fetchManifest(ctx); err != nil {
			return err
		}
	} else if err := checkID(in.id); err != nil {
		return err
	}
	err := in.adding(ctx, func(d *datadir.Dir) error { return in.install(ctx, d) })
	if isReadOnly(err) && ctx.Err() == nil {
		// Nothing can be added; that is fine if nothing has to be.
		if in.complete(ctx) {
			return nil
		}
	}
	if err != nil && len(in.placed) > 0 {
		err = errors.Join(err, in.takeBack(ctx))
	}
	return err
}

// complete reports whether all files are in place.
func (in *installation) complete(ctx context.Context) bool {
	return in.reading(ctx, func(d *datadir.Dir) error {
		for _, arch := range in.arches {
			if _, err := in.resolve(ctx, d, in.id, arch); err != nil {
				return err
			}
		}
		return nil
	}) == nil
}

// fetchManifest asks the sources for the manifest.
func (in *installation) fetchManifest(ctx context.Context) error {
	if len(in.options.Sources) == 0 {
		return &NotInstalledError{ID: in.id}
	}
	var failed []error
	for _, source := range in.options.Sources {
		m, id, err := manifestOf(ctx, source, in.id)
		if err == nil {
			in.manifest, in.id = m, id
			return nil
		}
		failed = append(failed, &SourceError{Source: source.String(), File: manifestName, Err: err})
	}
	return errors.Join(failed...)
}

func manifestOf(ctx context.Context, source Source, want string) (*bundle.Manifest, string, error) {
	data, err := source.Manifest(ctx, want)
	if err != nil {
		return nil, "", err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return nil, "", err
	}
	id, err := m.ID()
	if err == nil && want != "" && id != want {
		err = fmt.Errorf("it has artifact set %s, want %s", id, want)
	}
	return m, id, err
}

// items are the files of all architectures asked for.
func (in *installation) items() ([]item, error) {
	var items []item
	for _, arch := range in.arches {
		a, ok := in.manifest.Architecture(arch)
		if !ok {
			return nil, fmt.Errorf("%w: it has nothing for %s", bundle.ErrUnsupportedArch, arch)
		}
		for _, file := range a.Files {
			items = append(items, item{arch, file, location(arch, file)})
		}
	}
	return items, nil
}

func (in *installation) install(ctx context.Context, d *datadir.Dir) error {
	installed, err := readSet(d, in.id)
	known := err == nil
	if _, corrupt := errors.AsType[*CorruptError](err); !known && !corrupt && !isNotInstalled(err) {
		return err
	}
	if known {
		in.manifest = installed
	} else if in.manifest == nil {
		if err := in.fetchManifest(ctx); err != nil {
			return err
		}
	}
	items, err := in.items()
	if err != nil {
		return err
	}
	missing, need, err := missingOf(d, items)
	if err != nil {
		return err
	}
	noted := false
	if known {
		if noted, err = in.isNoted(d); err != nil {
			return err
		}
	}
	if noted && len(missing) == 0 {
		// Who asked for it now may need a while until it is a root.
		return d.Touch(manifestPath(in.id), in.options.now())
	}
	if missing, err = in.awaitRoom(ctx, d, items, missing, need); err != nil {
		return err
	}
	if err := in.fetchAll(ctx, d, missing); err != nil {
		return err
	}
	if err := syncFolders(d, items); err != nil {
		return err
	}
	if err := in.writeManifest(ctx, d); err != nil {
		return err
	}
	for _, folder := range []string{setDir(in.id), setsDir, "."} {
		if err := d.SyncDir(folder); err != nil {
			return err
		}
	}
	return nil
}

// writeManifest makes the set an installed one, for the architectures. Of many
// processes one writes the manifest: it stays the same file, as processes hold the
// set by it.
func (in *installation) writeManifest(ctx context.Context, d *datadir.Dir) (err error) {
	lock, err := d.Lock(ctx, lockName(setDir(in.id)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	data, err := in.manifest.MarshalCanonical()
	if err != nil {
		return err
	}
	if _, err = readSet(d, in.id); isNotInstalled(err) {
		err = in.begin(d, data)
	} else {
		if err != nil {
			err = d.WriteFile(manifestPath(in.id), data, 0o644)
		}
		if err == nil {
			err = in.note(d)
		}
	}
	if err != nil {
		return err
	}
	return d.Touch(manifestPath(in.id), in.options.now())
}

// fetchAll installs files, two at a time: one waits for the disk while the other
// is hashed.
func (in *installation) fetchAll(ctx context.Context, d *datadir.Dir, missing []item) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slices.SortStableFunc(missing, func(a, b item) int { return cmp.Compare(b.file.Size, a.file.Size) })
	work := make(chan item)
	failed := make(chan []error)
	const workers = 2
	for range workers {
		go func() {
			var errs []error
			for item := range work {
				if err := in.place(ctx, d, item); err != nil {
					errs = append(errs, &fileError{item.file.Kind, item.arch, err})
					cancel()
				}
			}
			failed <- errs
		}()
	}
	for _, item := range missing {
		if ctx.Err() != nil {
			break
		}
		work <- item
	}
	close(work)
	var errs []error
	for range workers {
		errs = append(errs, <-failed...)
	}
	if err := firstCause(errs); err != nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// firstCause leaves out the errors that only tell of another's.
func firstCause(errs []error) error {
	causes := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return errors.Is(err, context.Canceled) })
	if len(causes) == 0 {
		return errors.Join(errs...)
	}
	return errors.Join(causes...)
}

// place installs one file, unless another process did while this one waited.
func (in *installation) place(ctx context.Context, d *datadir.Dir, item item) (err error) {
	lock, err := d.Lock(ctx, lockName(item.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	_, err = in.check(ctx, d, item.name, wanted{sha256: item.file.SHA256})
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		err = in.quarantine(d, item.name, corrupt)
		if err == nil {
			err = fs.ErrNotExist
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(in.options.Sources) == 0 {
		return &NotInstalledError{ID: in.id, Arch: item.arch, Missing: []string{string(item.file.Kind)}}
	}
	var failed []error
	for _, source := range in.options.Sources {
		err := in.copyFrom(ctx, d, source, item)
		if err == nil {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.placed = append(in.placed, item.name)
			in.fetched = append(in.fetched, d.Path(item.name))
			in.bytes += item.file.Size
			in.options.Logger.Info("file installed", "path", d.Path(item.name), "sha256", item.file.SHA256, "source", source.String())
			return nil
		}
		failed = append(failed, err)
		if _, ok := errors.AsType[*SourceError](err); !ok {
			break // another source does not make room on the disk
		}
	}
	return errors.Join(failed...)
}

// syncFolders makes the names of files survive a power cut, whoever made them.
func syncFolders(d *datadir.Dir, items []item) error {
	done := map[string]bool{}
	for _, item := range items {
		for folder := path.Dir(item.name); !done[folder]; folder = path.Dir(folder) {
			done[folder] = true
			if err := d.SyncDir(folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeBack removes what a failed call placed, so that a full disk is as it was.
// While others add files it leaves that to Collect: they may need the same.
func (in *installation) takeBack(ctx context.Context) (err error) {
	return in.reading(context.WithoutCancel(ctx), func(d *datadir.Dir) (err error) {
		held, err := d.TryLock(collectLock)
		if err != nil || held == nil {
			return err
		}
		defer func() { err = errors.Join(err, held.Unlock()) }()
		used, err := usedFiles(d)
		if err != nil {
			return err
		}
		for _, name := range in.placed {
			if !used[name] {
				if err := removeFile(d, name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
