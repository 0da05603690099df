package system

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

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

// recordKernels looks whether kernels without a record are those of sets, as long
// as the sets are there: who linked one may have died before it wrote that.
func (c *collection) recordKernels(ctx context.Context) error {
	found, err := c.legacy(c.dir)
	if err != nil || c.options.DryRun {
		return err
	}
	for _, file := range found {
		r, err := readRecord(c.dir, file.Path)
		if err != nil {
			return err
		}
		if r != nil || file.Kernel == "" {
			continue
		}
		_, err = c.check(ctx, c.dir, file.Path, wanted{})
		if _, corrupt := errors.AsType[*CorruptError](err); err != nil && !corrupt && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
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

// usedFiles gives the names of the files that sets were installed for, of every
// architecture where that was not noted.
func usedFiles(d *datadir.Dir) (map[string]bool, error) {
	ids, err := setIDs(d)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		m, err := readSet(d, id)
		if isNotInstalled(err) {
			continue // a folder that was left without its manifest
		}
		if err != nil {
			return nil, err
		}
		asked, err := readAsked(d, id, m)
		if err != nil {
			return nil, err
		}
		for _, a := range m.Architectures {
			if len(asked) > 0 && !slices.Contains(asked, a.Arch) {
				continue
			}
			for _, file := range a.Files {
				used[location(a.Arch, file)] = true
			}
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
