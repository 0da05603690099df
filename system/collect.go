package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// DefaultGrace is how long a set is kept that nobody needs: a host may have
// resolved it and not yet noted that.
const DefaultGrace = 24 * time.Hour

// NoGrace removes at once what nobody needs.
const NoGrace = time.Duration(-1)

// CollectOptions are the roots that only the caller knows, and what to do.
type CollectOptions struct {
	Roots  []string      // IDs of the sets that instances and snapshots were made with
	Grace  time.Duration // since a set was installed or asked for last; 0: DefaultGrace
	DryRun bool          // change nothing
}

// Decision is what becomes of a set, or of a file that is of no set.
type Decision struct {
	ID     string `json:"id,omitempty"`   // of the set, or
	Path   string `json:"path,omitempty"` // the file or folder
	Remove bool   `json:"remove"`
	Reason string `json:"reason"`
	Bytes  int64  `json:"bytes"` // that removing it gives back
}

// Collect removes sets that are neither roots nor leased, held or the latest one
// and older than the grace time, then files that are of no set. It waits for who
// is installing, and others wait for it. What a hypeman host left stays.
//
// It gives a decision for each, in order: sets, then files. If it cannot read a
// lease or a manifest it removes nothing.
func (s *Store) Collect(ctx context.Context, o CollectOptions) ([]Decision, error) {
	var decisions []Decision
	for _, id := range o.Roots {
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("collect: root: %w", err)
		}
	}
	run := s.removing
	if o.DryRun {
		run = s.reading
	}
	err := run(ctx, func(d *datadir.Dir) error {
		c := &collection{Store: s, dir: d, options: o, now: s.options.now()}
		err := c.run(ctx)
		decisions = c.decisions
		return err
	})
	if o.DryRun && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return decisions, fmt.Errorf("collect: %w", err)
	}
	return decisions, nil
}

type collection struct {
	*Store
	dir       *datadir.Dir
	options   CollectOptions
	now       time.Time
	decisions []Decision
}

// isOld reports whether the grace time of something is over. What is from the
// future, as its clock was set back since, is not old.
func (c *collection) isOld(since time.Time) bool {
	grace := c.options.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	return c.now.Sub(since) > grace
}

func (c *collection) run(ctx context.Context) error {
	ids, err := setIDs(c.dir)
	if err != nil {
		return err
	}
	roots, err := c.roots()
	if err != nil {
		return err
	}
	files := map[string]map[string]bool{}
	for _, id := range ids {
		if files[id], err = filesOf(c.dir, id); err != nil {
			return err
		}
	}
	used := map[string]bool{}
	for _, id := range ids {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		reason, err := c.set(id, roots[id])
		if err != nil {
			return err
		}
		c.decisions = append(c.decisions, Decision{ID: id, Remove: reason == "", Reason: reason})
		if reason != "" {
			for name := range files[id] {
				used[name] = true
			}
		}
	}
	if err := c.reasons(files, used); err != nil {
		return err
	}
	return c.files(ctx, files, used)
}

// roots gives a reason to keep for each set that has one.
func (c *collection) roots() (map[string]string, error) {
	roots := map[string]string{}
	leases, err := readLeases(c.dir)
	if err != nil {
		return nil, err
	}
	for _, lease := range leases {
		over, err := lease.over(c.now)
		if err != nil {
			return nil, err
		}
		for _, id := range lease.Sets {
			if over == "" {
				roots[id] = "lease " + lease.Name
			}
		}
		if over == "" {
			continue
		}
		name := path.Join(leasesDir, lease.Name+leaseSuffix)
		c.decisions = append(c.decisions, Decision{Path: c.dir.Path(name), Remove: true, Reason: "lease is over: " + over})
		if !c.options.DryRun {
			if err := c.dir.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	for _, id := range c.options.Roots {
		roots[id] = "root"
	}
	switch latest, err := readLatest(c.dir); {
	case err == nil:
		roots[latest] = "latest"
	case !isNotInstalled(err):
		return nil, err
	}
	return roots, nil
}

// set removes a set, or gives the reason to keep it.
func (c *collection) set(id, root string) (reason string, err error) {
	if root != "" {
		return root, nil
	}
	// Who holds the set has this file locked.
	file, err := c.dir.Claim(manifestPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		if c.options.DryRun {
			return "", nil
		}
		return "", c.dir.Remove(setDir(id)) // who installed it died before the manifest
	}
	if err != nil {
		return "", err
	}
	if file == nil {
		return "held by a process", nil
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if !c.isOld(info.ModTime()) {
		return "asked for at " + info.ModTime().UTC().Format(time.RFC3339) + ", within the grace time", nil
	}
	if c.options.DryRun {
		return "", nil
	}
	// Without its manifest a set is not installed, whatever else is left of it.
	if err := c.dir.Remove(manifestPath(id)); err != nil {
		return "", err
	}
	c.Store.options.Logger.Info("artifact set removed", "id", id)
	return "", errors.Join(c.dir.Remove(setDir(id)), c.dir.SyncDir(setsDir))
}

// reasons says of each set that is removed why, and what that gives back: files
// that no kept set and no set before has.
func (c *collection) reasons(files map[string]map[string]bool, used map[string]bool) error {
	counted := map[string]bool{}
	for i := range c.decisions {
		decision := &c.decisions[i]
		if decision.ID == "" || !decision.Remove {
			continue
		}
		decision.Reason = "neither root nor leased, held or latest, and older than the grace time"
		for name := range files[decision.ID] {
			if used[name] || counted[name] {
				continue
			}
			counted[name] = true
			info, err := c.dir.Stat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			decision.Bytes += info.Size()
		}
	}
	return nil
}

// files removes what no kept set has. Nobody is installing, so that what is of
// no set at all is left from who died at it.
func (c *collection) files(ctx context.Context, files map[string]map[string]bool, used map[string]bool) error {
	folders, err := storedFolders(c.dir)
	if err != nil {
		return err
	}
	usedFolders, known := map[string]bool{}, map[string]bool{}
	for name := range used {
		usedFolders[storedFolder(name)] = true
	}
	for _, names := range files {
		for name := range names {
			known[storedFolder(name)] = true
		}
	}
	for _, folder := range folders {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if usedFolders[folder] {
			continue
		}
		if !known[folder] {
			c.decisions = append(c.decisions, Decision{Path: c.dir.Path(folder), Remove: true, Reason: "it is of no set"})
		}
		if c.options.DryRun {
			continue
		}
		if err := errors.Join(c.dir.Remove(folder), c.dir.RemoveEmpty(path.Dir(folder))); err != nil {
			return err
		}
		c.Store.options.Logger.Info("files removed", "path", c.dir.Path(folder))
	}
	if err := c.versions(used); err != nil {
		return err
	}
	return c.quarantine()
}

// versions removes the names by version of kernels that are gone.
func (c *collection) versions(used map[string]bool) error {
	found, err := c.legacy(c.dir)
	if err != nil {
		return err
	}
	for _, file := range found {
		r, err := readRecord(c.dir, file.Path)
		if err != nil {
			return err
		}
		if _, err := c.dir.Stat(file.Path); errors.Is(err, fs.ErrNotExist) {
			if c.options.DryRun {
				continue
			}
			if err := c.dir.RemoveEmpty(path.Dir(file.Path)); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return err
		}
		decision := Decision{Path: c.dir.Path(file.Path), Reason: "a hypeman host left it, nobody knows who needs it"}
		if r != nil && r.Pinned && file.Kernel != "" && pinnedByLock(file) == "" {
			if used[path.Join(kernelDir, digestPrefix+r.SHA256, file.Arch, kernelFile)] {
				continue
			}
			decision.Remove, decision.Reason = true, "no set has this kernel any more"
			if !c.options.DryRun {
				if err := removeFile(c.dir, file.Path); err != nil {
					return err
				}
			}
		}
		c.decisions = append(c.decisions, decision)
	}
	return nil
}

// pinnedByLock is the digest that the lock has for a file of a host, or "".
func pinnedByLock(file Adopted) string {
	if a := pinned(file.Kernel, file.Arch); a != nil && len(a.URLs) > 0 {
		return a.SHA256
	}
	return ""
}

// quarantine removes corrupt files after the grace time.
func (c *collection) quarantine() error {
	names, err := c.dir.List(quarantineDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		folder := path.Join(quarantineDir, name)
		decision := Decision{Path: c.dir.Path(folder), Remove: true, Reason: "corrupt, and older than the grace time"}
		info, err := c.dir.Stat(path.Join(folder, "reason"))
		switch {
		case err == nil && !c.isOld(info.ModTime()):
			decision.Remove, decision.Reason = false, "corrupt, within the grace time"
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if decision.Remove && !c.options.DryRun {
			if err := c.dir.Remove(folder); err != nil {
				return err
			}
		}
		c.decisions = append(c.decisions, decision)
	}
	return nil
}

// filesOf gives the names of all files of a set, of every architecture.
func filesOf(d *datadir.Dir, id string) (map[string]bool, error) {
	m, err := readSet(d, id)
	if isNotInstalled(err) {
		return nil, nil // a folder that was left without its manifest
	}
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, a := range m.Architectures {
		for _, file := range a.Files {
			names[location(a.Arch, file)] = true
		}
	}
	return names, nil
}

// usedFiles gives the names of all files of all sets.
func usedFiles(d *datadir.Dir) (map[string]bool, error) {
	ids, err := setIDs(d)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		names, err := filesOf(d, id)
		if err != nil {
			return nil, err
		}
		for name := range names {
			used[name] = true
		}
	}
	return used, nil
}

// storedFolder is the folder that goes by the digest of the file in it.
func storedFolder(name string) string {
	if folder := path.Dir(name); strings.HasPrefix(path.Base(folder), digestPrefix) {
		return folder
	}
	return path.Dir(path.Dir(name)) // a kernel has its architecture between
}

// storedFolders gives all folders that go by a digest, in order.
func storedFolders(d *datadir.Dir) ([]string, error) {
	parents := []string{kernelDir}
	for _, folder := range []string{initrdDir, filesDir} {
		arches, err := d.List(folder)
		if err != nil {
			return nil, err
		}
		for _, arch := range arches {
			parents = append(parents, path.Join(folder, arch))
		}
	}
	var folders []string
	for _, parent := range parents {
		names, err := d.List(parent)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasPrefix(name, digestPrefix) {
				folders = append(folders, path.Join(parent, name))
			}
		}
	}
	slices.Sort(folders)
	return folders, nil
}

// removeFile removes a file with its record and the folders that are empty then.
func removeFile(d *datadir.Dir, name string) error {
	if err := errors.Join(d.Remove(recordPath(name)), d.Remove(name)); err != nil {
		return err
	}
	return d.RemoveEmpty(path.Dir(name))
}
