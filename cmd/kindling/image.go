package main

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// ociArch are Go's names of architectures, which OCI images use.
var ociArch = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// loadImage finds the image for a set's architecture. Without a reference it is
// the set's base layer as an image.
func loadImage(ctx context.Context, ref string, set *system.Set) (v1.Image, error) {
	platform := v1.Platform{OS: "linux", Architecture: ociArch[set.Arch]}
	if ref != "" {
		return rootfs.Load(ctx, ref, platform)
	}
	if set.Base == "" {
		return nil, fmt.Errorf("name an image: artifact set %s has no base layer to run", set.ID)
	}
	layer, err := tarball.LayerFromFile(set.Base)
	if err != nil {
		return nil, fmt.Errorf("open base layer: %w", err)
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Config:       v1.Config{Cmd: []string{"sh"}},
	})
	if err != nil {
		return nil, fmt.Errorf("make image of base layer: %w", err)
	}
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, fmt.Errorf("make image of base layer: %w", err)
	}
	return image, nil
}

// guestConfig is what the guest is told to run: the image's command, or argv in
// place of its cmd, as docker does it.
func guestConfig(image v1.Image, argv []string) (*contract.Config, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image's configuration: %w", err)
	}
	config, err := rootfs.GuestConfig(file.Config)
	if err != nil {
		return nil, err
	}
	if len(argv) > 0 {
		config.Cmd = argv
	}
	return config, nil
}
