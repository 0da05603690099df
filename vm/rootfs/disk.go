// Package rootfs turns an OCI image, or a root file system, into the disks of a
// VM: it finds the image, maps its configuration to the guest's, flattens its
// layers into a root disk, and makes the overlay disk that takes the guest's
// changes. It also makes disks of folders. All of it works without root, loop
// devices and mkfs.
//
// It does not keep disks, which is for package diskcache, and it does not run
// anything.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/vm/internal/ext4"
)

// MinOverlay and MaxOverlay bound the size of an overlay disk.
const (
	MinOverlay = ext4.MinEmpty
	MaxOverlay = ext4.MaxEmpty
)

// Progress is how far WriteDisk is with one of its steps.
type Progress struct {
	Step  string // "layers", which are read, or "root disk", which is written
	Done  int64  // bytes
	Total int64  // bytes
}

// WriteDisk flattens layers, the lowest first, into a read-only ext4 root disk
// (contract.RootDisk). The bytes depend on the layers alone. Digest, size and
// diff ID of every layer are checked; the file at path appears complete or not
// at all. The directory of path also takes the uncompressed contents while
// WriteDisk runs, in a file without a name. It ends with ctx, and tells progress,
// if that is not nil, how far it is.
//
// What ext4 cannot hold is an error that names the path, with the exceptions
// that vm/internal/ext4 documents: times before 1970 and from 2038 on are
// clamped, and extended attributes that Linux has no namespace for are left
// out. The root gets a lost+found of ext4's own.
func WriteDisk(ctx context.Context, path string, layers []v1.Layer, progress func(Progress)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write root disk: %w", err)
		}
	}()
	tree, err := fstree.New(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	read := &counter{ctx: ctx, step: "layers", tell: progress}
	if read.total, err = sizeOf(layers); err != nil {
		return err
	}
	for _, layer := range layers {
		if err := tree.AddLayer(countedLayer{layer, read}); err != nil {
			return err
		}
	}
	written := &counter{ctx: ctx, step: "root disk", tell: progress, total: tree.ContentSize()}
	return ext4.FromTar(path, 0o644, 0, func(w io.Writer) error {
		return tree.WriteTar(countedWriter{w, written})
	})
}

// WriteOverlay writes an empty, sparse, writable ext4 overlay disk
// (contract.OverlayDisk) with a journal and a random UUID. The size is rounded
// up to a multiple of 4096. Only its owner may read it. The file at path appears
// complete or not at all.
func WriteOverlay(path string, size int64) error {
	if err := ext4.WriteEmpty(path, 0o600, size); err != nil {
		return fmt.Errorf("write overlay disk: %w", err)
	}
	return nil
}
