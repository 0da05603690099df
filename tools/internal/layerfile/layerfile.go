// Package layerfile writes file trees as image layers.
package layerfile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// Write makes a file of a tree, complete or not at all: a tar, compressed by
// gzip at the level, a function of the tree alone.
func Write(out string, tree *fstree.Tree, level int) (err error) {
	file, err := renameio.NewPendingFile(out, renameio.WithTempDir(filepath.Dir(out)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Cleanup()) }()
	// The header of the gzip writer has no name and no time unless set.
	compressor, err := gzip.NewWriterLevel(file, level)
	if err != nil {
		return err
	}
	if err := tree.WriteTar(compressor); err != nil {
		return err
	}
	if err := compressor.Close(); err != nil {
		return fmt.Errorf("close gzip: %w", err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return nil
}
