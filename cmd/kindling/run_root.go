package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kindling-vm/kindling/vm/diskcache"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// cacheSize is up to how many bytes of the file system cached root disks occupy.
const cacheSize = 10 << 30

// openCache opens what is kept of images between machines.
func openCache() (*diskcache.Cache, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return &diskcache.Cache{Dir: dir, Size: cacheSize}, nil
}

// cacheDir is where kindling keeps what can be made again.
func cacheDir() (string, error) {
	if dir := os.Getenv("KINDLING_CACHE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	// https://specifications.freedesktop.org/basedir has relative paths ignored.
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kindling"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder (KINDLING_CACHE_DIR names one): %w", err)
	}
	return filepath.Join(home, ".cache", "kindling"), nil
}

// rootDisk gives the root disk of an image: one that machines share, which stays
// until release, or of a folder one of its own below dir.
func (r *request) rootDisk(
	ctx context.Context, dir string, image *rootfs.Image, cache *diskcache.Cache, stderr io.Writer,
) (path string, release func() error, err error) {
	progress, err := newRunProgress(r.Progress, stderr)
	if err != nil {
		return "", nil, err
	}
	defer progress.clear()
	report := func(p rootfs.Progress) { progress.report(p.Step, p.Done, p.Total) }
	if folder := image.Folder(); folder != "" {
		if err := checkApart("root file system", dir, folder); err != nil {
			return "", nil, err
		}
		path = filepath.Join(dir, "root.ext4")
		skipped, err := image.WriteDisk(ctx, path, report)
		for _, name := range skipped {
			fmt.Fprintf(stderr, "kindling: root file system %s: left out %s\n", folder, name)
		}
		return path, func() error { return nil }, err
	}
	disk, err := cache.Disk(ctx, image.DiskID(), func(path string) error {
		_, err := image.WriteDisk(ctx, path, report)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return disk.Path, disk.Close, nil
}

// newRunProgress tells of images, but in words only of what takes long: most
// machines start from a disk that is there.
func newRunProgress(how string, stderr io.Writer) (*transfers, error) {
	t := newTransfers()
	t.how, t.delay = how, progressDelay
	if err := t.start(stderr); err != nil {
		return nil, err
	}
	return t, nil
}
