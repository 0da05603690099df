package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

// epoch is the time of everything that is placed. The archive has no times, but
// the tree wants one.
var epoch = time.Unix(0, 0)

// build makes the archive and the listing.
func build(o *options) (err error) {
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
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
		if err := addModules(tree, o.modules, o.names, o.arch); err != nil {
			return fmt.Errorf("add modules of %s: %w", o.modules, err)
		}
	}
	if err := checkInit(tree, o.arch); err != nil {
		return fmt.Errorf("check /init: %w", err)
	}
	return write(tree, binaries, o.out, o.listing)
}

func addLayers(tree *fstree.Tree, layers []string) error {
	for _, layer := range layers {
		if err := readFile(layer, func(f *os.File) error { return tree.AddBlob(f) }); err != nil {
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

// write makes the output files. Each appears complete or not at all.
func write(tree *fstree.Tree, binaries map[*fstree.Node]bool, out, listing string) (err error) {
	archiveFile, err := pendingFile(out)
	if err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	defer func() { err = errors.Join(err, archiveFile.Cleanup()) }()
	archive := bufio.NewWriterSize(archiveFile, 256<<10)
	if listing == "" {
		if err := writeArchive(archive, io.Discard, tree, binaries); err != nil {
			return err
		}
		return finish(archive, archiveFile)
	}
	listingFile, err := pendingFile(listing)
	if err != nil {
		return fmt.Errorf("create listing: %w", err)
	}
	defer func() { err = errors.Join(err, listingFile.Cleanup()) }()
	list := bufio.NewWriter(listingFile)
	if err := writeArchive(archive, list, tree, binaries); err != nil {
		return err
	}
	// A full disk shows before the first of the two appears.
	if err := list.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", listing, err)
	}
	if err := finish(archive, archiveFile); err != nil {
		return err
	}
	return finish(list, listingFile)
}

func pendingFile(path string) (*renameio.PendingFile, error) {
	return renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
}

func finish(w *bufio.Writer, f *renameio.PendingFile) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return nil
}
