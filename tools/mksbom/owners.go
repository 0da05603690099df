package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kindling-vm/kindling/internal/mtree"
)

// place is where an entry of the initrd was seen.
type place struct {
	segment string
	isDir   bool
}

// readSegments reads the listings and gives each file and link of the initrd to
// the one component that it comes from. Folders have no content, and several
// segments may have the same one: they belong to nobody.
func (c *contents) readSegments(o *options) error {
	c.owned = map[string][]mtree.Entry{}
	owners, err := c.ownersBySegment(o)
	if err != nil {
		return err
	}
	segments := slices.SortedFunc(slices.Values(o.segments), func(a, b pair) int { return strings.Compare(a.key, b.key) })
	seen := map[string]place{}
	for _, segment := range segments {
		data, err := os.ReadFile(segment.value)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", segment.key, err)
		}
		entries, err := mtree.Parse(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("read %s of segment %s: %w", segment.value, segment.key, err)
		}
		for _, e := range entries {
			if err := c.addEntry(segment.key, e, owners[segment.key], seen); err != nil {
				return fmt.Errorf("find owner of /%s in segment %s: %w", e.Path, segment.key, err)
			}
		}
	}
	for _, p := range c.programs {
		if len(c.owned[p.ref()]) == 0 {
			return fmt.Errorf("program /%s is in no segment", p.dest)
		}
	}
	for _, entries := range c.owned {
		slices.SortFunc(entries, func(a, b mtree.Entry) int { return strings.Compare(a.Path, b.Path) })
	}
	return nil
}

// ownersBySegment checks the owners and gives them by segment, with references in
// place of their components' names.
func (c *contents) ownersBySegment(o *options) (map[string][]owner, error) {
	bySegment := map[string][]owner{}
	for _, segment := range o.segments {
		if _, ok := bySegment[segment.key]; ok {
			return nil, fmt.Errorf("segment %s is given twice", segment.key)
		}
		bySegment[segment.key] = nil
	}
	refs := map[string]string{sourceRef: sourceRef}
	for _, a := range c.artifacts {
		refs[a.Name] = artifactRef(a.Name)
	}
	if c.image != nil {
		refs[imageRef] = imageRef
	}
	for _, owner := range o.owners {
		if _, ok := bySegment[owner.segment]; !ok {
			return nil, fmt.Errorf("owner %s is of segment %s, which is not given", owner.component, owner.segment)
		}
		ref, ok := refs[owner.component]
		if !ok {
			return nil, fmt.Errorf("owner %s of segment %s is no component of the set", owner.component, owner.segment)
		}
		owner.component = ref
		bySegment[owner.segment] = append(bySegment[owner.segment], owner)
	}
	return bySegment, nil
}

func (c *contents) addEntry(segment string, e mtree.Entry, owners []owner, seen map[string]place) error {
	// JSON could not tell what is not UTF-8.
	if !fs.ValidPath(e.Path) || !utf8.ValidString(e.Target) {
		return fmt.Errorf("%q is no clean path, or its target %q is not UTF-8", e.Path, e.Target)
	}
	before, again := seen[e.Path]
	here := place{segment, e.Type == "dir"}
	if again && !(before.isDir && here.isDir) {
		return fmt.Errorf("it is in segment %s too", before.segment)
	}
	seen[e.Path] = here
	if here.isDir {
		return nil
	}
	var refs []string
	for _, owner := range owners {
		if owner.covers(e.Path) {
			refs = append(refs, owner.component)
		}
	}
	for _, p := range c.programs {
		if p.dest != e.Path {
			continue
		}
		if e.Type != "file" || e.SHA256 != "" && e.SHA256 != p.sha256 {
			return fmt.Errorf("it is not the program, but a %s with SHA-256 %q", e.Type, e.SHA256)
		}
		refs = append(refs, p.ref())
		e.SHA256 = p.sha256
	}
	switch {
	case len(refs) == 0:
		return errors.New("it comes from no component")
	case len(refs) > 1:
		slices.Sort(refs)
		return fmt.Errorf("it comes from %s", strings.Join(refs, " and from "))
	case e.Type == "file" && e.SHA256 == "":
		return errors.New("listing has no SHA-256 of it")
	}
	c.owned[refs[0]] = append(c.owned[refs[0]], e)
	return nil
}

// covers reports whether the path is the owner's or below it.
func (o *owner) covers(path string) bool {
	return o.prefix == "" || path == o.prefix || strings.HasPrefix(path, o.prefix+"/")
}
