package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
	if _, err := os.Stat(s.dataDir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
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
	if err := c.recordKernels(ctx); err != nil {
		return err
	}
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
