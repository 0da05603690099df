package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// join concatenates segments, having checked that they fit: no path stands
// twice, every directory is there before what is in it, and the kernel finds an
// /init that it can run.
func join(o *joinOptions) (err error) {
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	var all []mtree.Entry
	for _, segment := range o.segments {
		entries, err := readListing(segment.dest)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := placeEntry(tree, &entry); err != nil {
				return fmt.Errorf("add segment %s: %w", segment.source, err)
			}
		}
		all = append(all, entries...)
	}
	if init, err := tree.Lookup("init"); err != nil {
		return fmt.Errorf("check /init: %w", err)
	} else if init.Type != fstree.Regular || init.Mode&0o111 == 0 {
		return fmt.Errorf("check /init: it is of type %v with mode %04o, want an executable file", init.Type, init.Mode)
	}
	slices.SortFunc(all, func(a, b mtree.Entry) int { return mtree.Compare(a.Path, b.Path) })
	return writeOutputs(o.out, o.listing, func(archive *output, listing io.Writer) error {
		for _, segment := range o.segments {
			if err := appendSegment(archive, segment.source); err != nil {
				return fmt.Errorf("append segment %s: %w", segment.source, err)
			}
		}
		list := mtree.NewWriter(listing)
		for _, entry := range all {
			if err := list.Write(&entry); err != nil {
				return fmt.Errorf("write listing: %w", err)
			}
		}
		return nil
	})
}

func appendSegment(w io.Writer, name string) error {
	return readFile(name, func(f *os.File) error {
		size, err := io.Copy(w, f)
		if err == nil && size%newc.Alignment != 0 {
			err = fmt.Errorf("%d bytes are no multiple of %d", size, newc.Alignment)
		}
		return err
	})
}
