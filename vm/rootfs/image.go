package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
)

// Image is what a root disk is made of: an OCI image, or a root file system in a
// tar or a folder, which has no configuration.
type Image struct {
	config v1.Config
	layers []v1.Layer
	ids    []v1.Hash // diff IDs of layers
	folder string    // in place of layers
}

// imageOf takes apart an image whose documents have been checked.
func imageOf(image v1.Image) (*Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	return &Image{config: config.Config, layers: layers, ids: config.RootFS.DiffIDs}, nil
}

// GuestConfig maps the image's configuration to the guest's, as GuestConfig
// does.
func (i *Image) GuestConfig() (*contract.Config, error) { return GuestConfig(i.config) }

// StopSignal is the signal that the image wants to be stopped by, as the image
// names it; "" if it does not.
func (i *Image) StopSignal() string { return i.config.StopSignal }

// Folder is the folder that the image is; "" if it is none.
func (i *Image) Folder() string { return i.folder }

// diskFormat changes when WriteDisk makes another disk of the same layers.
const diskFormat = "kindling root disk 1"

// DiskID names the bytes of the root disk, in hexadecimal digits: images whose
// layers have the same diff IDs in the same order share a disk. It is "" for a
// folder, of which nobody knows what it holds before it is read.
func (i *Image) DiskID() string {
	if i.folder != "" {
		return ""
	}
	hash := sha256.New()
	fmt.Fprintln(hash, diskFormat)
	for _, id := range i.ids {
		fmt.Fprintln(hash, id)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// WriteDisk writes the root disk, as the functions WriteDisk and WriteFolder do.
// Of a folder, some files may be skipped, as WriteFolder has it.
func (i *Image) WriteDisk(ctx context.Context, path string, progress func(Progress)) (skipped []string, err error) {
	if i.folder != "" {
		return WriteFolder(ctx, path, i.folder)
	}
	return nil, WriteDisk(ctx, path, i.layers, progress)
}
