package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

// epoch is the time of everything that is placed. Archives have no times, but
// the tree wants one.
var epoch = time.Unix(0, 0)

// makeSegment makes a segment and its listing.
func makeSegment(o *segmentOptions) (err error) {
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	lower, err := addLower(tree, o.lower)
	if err != nil {
		return err
	}
	if err := addLayers(tree, o.layers); err != nil {
		return err
	}
	binaries, err := addBinaries(tree, o.binaries, o.arch)
	if err != nil {
		return err
	}
	for _, file := range o.files {
		if err := tree.PlaceFileFrom(file.dest, fstree.Meta{Mode: 0o444, ModTime: epoch}, file.source); err != nil {
			return err
		}
	}
	if o.modules != "" {
		if err := addModules(tree, o); err != nil {
			return fmt.Errorf("add modules of %s: %w", o.modules, err)
		}
	}
	if init, err := tree.Lookup("init"); err == nil && !lower[init] {
		if err := checkInit(tree, o.arch); err != nil {
			return fmt.Errorf("check /init: %w", err)
		}
	}
	archive, err := newArchive(tree, lower, binaries)
	if err != nil {
		return err
	}
	return writeOutputs(o.out, o.listing, func(out *output, listing io.Writer) error {
		if err := archive.compress(out, o.compression); err != nil {
			return err
		}
		return archive.writeListing(listing)
	})
}

// addLower makes the tree that the segments below leave, with empty files, and
// gives its nodes.
func addLower(tree *fstree.Tree, listings []string) (map[*fstree.Node]bool, error) {
	lower := map[*fstree.Node]bool{tree.Root(): len(listings) > 0}
	for _, name := range listings {
		entries, err := readListing(name)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if err := placeEntry(tree, &entry); err != nil {
				return nil, fmt.Errorf("add %s: %w", name, err)
			}
		}
	}
	for _, n := range tree.All() {
		lower[n] = true
	}
	return lower, nil
}

func readListing(name string) (entries []mtree.Entry, err error) {
	err = readFile(name, func(f *os.File) error {
		entries, err = mtree.Parse(f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read listing %s: %w", name, err)
	}
	return entries, nil
}

// placeEntry places what a listing says. Its directory must be there: the kernel
// makes none, and skips what has none.
func placeEntry(tree *fstree.Tree, entry *mtree.Entry) error {
	if entry.Path == "." {
		return nil
	}
	if dir := path.Dir(entry.Path); dir != "." {
		if n, err := tree.Lstat(dir); err != nil {
			return err
		} else if n.Type != fstree.Directory {
			return fmt.Errorf("%s is below a %v", entry.Path, n.Type)
		}
	}
	meta := fstree.Meta{Mode: entry.Mode, UID: entry.UID, GID: entry.GID, ModTime: epoch}
	switch entry.Type {
	case "dir":
		return tree.PlaceDir(entry.Path, meta)
	case "link":
		return tree.PlaceSymlink(entry.Path, entry.Target, meta)
	default:
		return tree.PlaceFile(entry.Path, meta, strings.NewReader(""), 0)
	}
}

func addLayers(tree *fstree.Tree, layers []string) error {
	for _, layer := range layers {
		if err := tree.AddFile(layer); err != nil {
			return fmt.Errorf("add layer %s: %w", layer, err)
		}
	}
	return nil
}

// addBinaries places the programs and returns their nodes.
func addBinaries(tree *fstree.Tree, list []placement, arch string) (map[*fstree.Node]bool, error) {
	nodes := map[*fstree.Node]bool{}
	for _, binary := range list {
		if err := tree.PlaceFileFrom(binary.dest, fstree.Meta{Mode: 0o555, ModTime: epoch}, binary.source); err != nil {
			return nil, err
		}
		n, err := tree.Lstat(binary.dest)
		if err != nil {
			return nil, err
		}
		if err := elfcheck.CheckStatic(tree.Open(n), arch); err != nil {
			return nil, fmt.Errorf("check binary %s for %s: %w", binary.source, binary.dest, err)
		}
		nodes[n] = true
	}
	return nodes, nil
}

func readFile(name string, f func(*os.File) error) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return f(file)
}

// checkInit checks that the kernel can run /init. If it cannot, it looks for
// another root file system and panics with "unable to mount root", which says
// nothing of the cause.
func checkInit(tree *fstree.Tree, arch string) error {
	n, err := tree.Lookup("init")
	if err != nil {
		return err
	}
	if n.Type != fstree.Regular {
		return fmt.Errorf("it is of type %v, want a regular file", n.Type)
	}
	if n.Mode&0o111 == 0 {
		return fmt.Errorf("mode %04o is not executable", n.Mode)
	}
	content := tree.Open(n)
	start := make([]byte, 256) // BINPRM_BUF_SIZE: what the kernel looks at
	size, err := io.ReadFull(content, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	line, isScript := bytes.CutPrefix(start[:size], []byte("#!"))
	if !isScript {
		return elfcheck.CheckStatic(content, arch)
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return errors.New("script names no interpreter")
	}
	interpreter, err := tree.Lookup(words[0])
	if err != nil {
		return fmt.Errorf("find interpreter: %w", err)
	}
	if interpreter.Type != fstree.Regular || interpreter.Mode&0o111 == 0 {
		return fmt.Errorf("interpreter %s is not an executable file", words[0])
	}
	return nil
}
