package system

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// askedNote says for which architectures a set was installed. Files do not tell:
// some may be there for another set, and some in quarantine.
type askedNote struct {
	Version int      `json:"version"` // 1
	Arches  []string `json:"arches"`  // in order
}

const askedVersion = 1

// askedPath is beside the manifest.
func askedPath(id string) string { return path.Join(setDir(id), "arches.json") }

// readAsked gives the architectures that an installed set was asked for, in
// order; none where nobody noted them, as of a set of before there were notes.
func readAsked(d *datadir.Dir, id string, m *bundle.Manifest) ([]string, error) {
	data, err := d.ReadFile(askedPath(id), documentsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var note askedNote
	err = parseStrict(data, &note)
	if err == nil {
		err = note.validate(m)
	}
	if err != nil {
		return nil, &CorruptError{Path: d.Path(askedPath(id)), Reason: err.Error()}
	}
	return note.Arches, nil
}

func (n *askedNote) validate(m *bundle.Manifest) error {
	switch {
	case n.Version != askedVersion:
		return fmt.Errorf("note of architectures has version %d, want %d", n.Version, askedVersion)
	case len(n.Arches) == 0:
		return errors.New("note of architectures names none")
	case !slices.Equal(n.Arches, inOrder(n.Arches)):
		return errors.New("note of architectures names them twice or out of order")
	}
	for _, arch := range n.Arches {
		if _, ok := m.Architecture(arch); !ok {
			return fmt.Errorf("note of architectures names %.80q, which the set is not for", arch)
		}
	}
	return nil
}

func writeAsked(d *datadir.Dir, id string, arches []string) error {
	data, err := marshal(askedNote{askedVersion, inOrder(arches)})
	if err != nil {
		return err
	}
	return d.WriteFile(askedPath(id), data, 0o644)
}

func inOrder(arches []string) []string { return slices.Compact(slices.Sorted(slices.Values(arches))) }

// expected reports whether the files of an architecture of an installed set must
// be there. Where it was not noted, that is so if one of them is.
func expected(d *datadir.Dir, asked []string, a *bundle.Architecture) bool {
	if len(asked) == 0 {
		return hasAny(d, a)
	}
	return slices.Contains(asked, a.Arch) || hasAll(d, a)
}

// isNoted reports whether nothing is to be noted of the architectures.
func (in *installation) isNoted(d *datadir.Dir) (bool, error) {
	asked, err := readAsked(d, in.id, in.manifest)
	if _, corrupt := errors.AsType[*CorruptError](err); corrupt {
		return false, nil
	}
	isNew := func(arch string) bool { return !slices.Contains(asked, arch) }
	return len(asked) == 0 || !slices.ContainsFunc(in.arches, isNew), err
}

// note adds the architectures to those of an installed set. A set without note
// stays one: nobody knows what else it was asked for. The caller has the lock of
// the set.
func (in *installation) note(d *datadir.Dir) error {
	asked, err := readAsked(d, in.id, in.manifest)
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		return in.quarantine(d, askedPath(in.id), corrupt)
	}
	if all := inOrder(slices.Concat(asked, in.arches)); err == nil && len(asked) > 0 && !slices.Equal(all, asked) {
		return writeAsked(d, in.id, all)
	}
	return err
}

// begin makes a set that is not there an installed one. The note is on the disk
// before the manifest: nobody sees the set without. Should a dead process have
// left one, its set was not installed. The caller has the lock of the set.
func (in *installation) begin(d *datadir.Dir, manifest []byte) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Remove(askedPath(in.id)), d.RemoveEmpty(setDir(in.id)))
		}
	}()
	if err := writeAsked(d, in.id, in.arches); err != nil {
		return err
	}
	if err := d.SyncDir(setDir(in.id)); err != nil {
		return err
	}
	return d.WriteFile(manifestPath(in.id), manifest, 0o644)
}
