package main

import (
	"archive/tar"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// imageSuite flattens an image of 20 layers to a root disk, the largest with
// 50 000 files in 1 GB.
func imageSuite(ctx context.Context, b *bench) ([]figure, error) {
	hostside, err := b.program(ctx, "tools/bench/hostside")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, scale := range scales(b.short) {
		image := b.path(fmt.Sprintf("image%d", scale))
		layers, err := writeImage(image, scale)
		if err != nil {
			return nil, err
		}
		disk, root, other := b.path("disk"), b.path("root"), b.path("mkfs")
		// Half as much again for what ext4 needs for itself.
		size := strconv.Itoa(scale*imageFiles*imageFile*3/2>>10) + "k"
		f := figure{name: fmt.Sprintf("flatten %d files in %d layers", scale*imageFiles, imageLayers), series: "flatten", scale: scale,
			reference: "tar + mkfs.ext4", contenders: []contender{
				{name: "kindling", output: disk, commands: [][]string{{hostside, "flatten", disk, image}}},
				{name: "tar + mkfs.ext4", output: root, commands: [][]string{
					shell(`mkdir "$1"; root=$1; shift; for layer; do tar -xzf "$layer" -C "$root"; done`, append([]string{root}, layers...)...),
					shell(`rm -f "$2"; mkfs.ext4 -q -F -d "$1" "$2" "$3"`, root, other, size),
				}},
			}}
		if scale == 16 {
			f.levels = []level{
				{contender: "kindling", against: "tar + mkfs.ext4", quantity: duration, atMost: 1},
				{contender: "kindling", quantity: peak, atMost: 256},
			}
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// The image's shape at scale 1.
const (
	imageLayers = 20
	imageFiles  = 3125
	imageFile   = 20_000 // bytes on average
)

// writeImage writes an OCI layout of compressed layers, each of which also
// replaces a few files of the one below it, and gives the layers' names.
func writeImage(dir string, scale int) (names []string, err error) {
	var layers []mutate.Addendum
	for number := range imageLayers {
		name := fmt.Sprintf("%s.%02d.tar.gz", dir, number)
		if err := writeLayer(name, func(w *tar.Writer) error { return fillLayer(w, number, scale) }); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromFile(name)
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		names = append(names, name)
		layers = append(layers, mutate.Addendum{Layer: layer})
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	if image, err = mutate.Append(image, layers...); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})); err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	return names, nil
}

func fillLayer(w *tar.Writer, number, scale int) error {
	random := rand.New(rand.NewChaCha8([32]byte{byte(number), byte(scale)}))
	for i := range scale * imageFiles / imageLayers {
		layer := number
		if i%20 == 0 {
			layer = max(0, number-1)
		}
		if err := addFile(w, fmt.Sprintf("usr/lib/layer%02d/part%03d/file%05d", layer, i/100, i), random); err != nil {
			return err
		}
	}
	return nil
}

// addFile adds a file of up to twice the average size, of letters, which
// compress to about two thirds.
func addFile(w *tar.Writer, name string, random *rand.Rand) error {
	content := make([]byte, random.IntN(2*imageFile))
	for i := range content {
		content[i] = "etaoinshrdlucmfwypvbgkqjxz_(){};"[random.Uint32()>>27]
	}
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1_700_000_000, 0)}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
