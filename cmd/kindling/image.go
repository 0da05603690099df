package main

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// ociArch are Go's names of architectures, which OCI images use.
var ociArch = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// baseCommand is what the base system runs if nothing else is named.
var baseCommand = []string{"sh"}

// loadImage finds the image for a set's architecture. Without a reference it is
// the set's base layer.
func loadImage(ctx context.Context, ref string, set *system.Set, o rootfs.Options) (*rootfs.Image, error) {
	if ref != "" {
		return rootfs.Load(ctx, ref, v1.Platform{OS: "linux", Architecture: ociArch[set.Arch]}, o)
	}
	if set.Base == "" {
		return nil, fmt.Errorf("name an image: artifact set %s has no base layer to run", set.ID)
	}
	return rootfs.OpenTar(ctx, set.Base)
}

// guestConfig is what the guest is told to run: the image's command, or argv in
// place of its cmd, as docker does it.
func guestConfig(image *rootfs.Image, argv []string) (*contract.Config, error) {
	config, err := image.GuestConfig()
	if err != nil {
		return nil, err
	}
	if len(argv) > 0 {
		config.Cmd = argv
		if !rootfs.IsSystemdImage(config.Entrypoint, argv) {
			config.InitMode = contract.ModeExec // as PID 1, it would end the machine with itself
		}
	}
	if len(config.Argv()) == 0 {
		return nil, errors.New("image has no command of its own; name one behind --")
	}
	return config, nil
}
