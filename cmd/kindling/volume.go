package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// volume is what one -v says.
type volume struct {
	Source string `json:"source"` // path on the host, absolute once it is settled
	Path   string `json:"path"`   // absolute, in the guest
	Mode   string `json:"mode"`   // of the contract; "" is the source's default
	folder bool
}

// volumeModes are those that a disk can have.
var volumeModes = []string{contract.VolumeReadOnly, contract.VolumeReadWrite, contract.VolumeOverlay}

// parseVolumes is what -v says. A source's path may have colons, the guest's may
// not.
func parseVolumes(texts []string) ([]volume, error) {
	var volumes []volume
	for _, text := range texts {
		v, err := parseVolume(text)
		if err != nil {
			return nil, fmt.Errorf("--volume is %q, %w", text, err)
		}
		if slices.ContainsFunc(volumes, func(other volume) bool { return other.Path == v.Path }) {
			return nil, fmt.Errorf("--volume has two volumes at %s", v.Path)
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}

func parseVolume(text string) (volume, error) {
	fields := strings.Split(text, ":")
	var v volume
	if last := len(fields) - 1; last > 0 && !path.IsAbs(fields[last]) {
		if !slices.Contains(volumeModes, fields[last]) {
			return volume{}, fmt.Errorf("and %q is neither a mode, want %s, nor an absolute path",
				fields[last], strings.Join(volumeModes, ", "))
		}
		v.Mode, fields = fields[last], fields[:last]
	}
	last := len(fields) - 1
	v.Source, v.Path = strings.Join(fields[:last], ":"), path.Clean(fields[last])
	switch {
	case v.Source == "" || !path.IsAbs(v.Path):
		return volume{}, errors.New("want SOURCE:PATH[:ro|rw|overlay] with an absolute PATH")
	case v.Path == "/":
		return volume{}, errors.New("but the image itself is at /")
	}
	return v, nil
}

// settleVolumes looks at the sources and gives those without a mode the one of
// their kind.
func settleVolumes(volumes []volume) error {
	for i := range volumes {
		v := &volumes[i]
		if err := v.settle(); err != nil {
			return fmt.Errorf("use volume %s: %w", v.Source, err)
		}
	}
	return nil
}

func (v *volume) settle() error {
	source, err := filepath.Abs(v.Source)
	if err != nil {
		return err
	}
	v.Source = source
	info, err := os.Stat(v.Source)
	if err != nil {
		return err
	}
	if v.folder = info.IsDir(); v.folder {
		v.Mode = cmp.Or(v.Mode, contract.VolumeReadOnly)
		if v.Mode == contract.VolumeReadWrite {
			return errors.New("a folder reaches the guest as a copy, and nothing that it writes would come back: " +
				"want ro, overlay, or a disk image")
		}
		return nil
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is neither a folder nor a regular file")
	}
	v.Mode = cmp.Or(v.Mode, contract.VolumeReadWrite)
	return v.checkImage()
}

// superblocks are the file systems that the guest knows, by their magic numbers:
// SQUASHFS_MAGIC of fs/squashfs/squashfs_fs.h at 0, EROFS_SUPER_MAGIC_V1 of
// linux/magic.h at EROFS_SUPER_OFFSET, and EXT4_SUPER_MAGIC at s_magic of
// Documentation/filesystems/ext4/super.rst.
var superblocks = []struct {
	magic    string
	offset   int64
	writable bool
}{
	{"hsqs", 0, false},
	{"\xe2\xe1\xf5\xe0", 1024, false},
	{"\x53\xef", 1024 + 0x38, true},
}

// checkImage checks that the guest can mount the image: it would go on without
// it, and say so on its console only.
func (v *volume) checkImage() (err error) {
	flags := os.O_RDONLY
	if v.Mode == contract.VolumeReadWrite {
		flags = os.O_RDWR
	}
	image, err := os.OpenFile(v.Source, flags, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	begin := make([]byte, 4096)
	n, err := image.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, s := range superblocks {
		if int64(n) < s.offset || !bytes.HasPrefix(begin[s.offset:n], []byte(s.magic)) {
			continue
		}
		if v.Mode == contract.VolumeReadWrite && !s.writable {
			return errors.New("its file system cannot be written: want ro or overlay")
		}
		return nil
	}
	return errors.New("it has no file system that the guest knows: want ext4, erofs or squashfs")
}

// addVolumes adds the disks of volumes, which may be made below dir, to a
// machine's and tells the guest of them. What is left out of a folder is told on
// stderr.
func addVolumes(
	ctx context.Context, dir string, volumes []volume, disks []vm.Disk, config *contract.Config, stderr io.Writer,
) ([]vm.Disk, error) {
	add := func(disk vm.Disk) (device string) {
		disks = append(disks, disk)
		return contract.DiskName(len(disks) - 1)
	}
	for i, v := range volumes {
		image := v.Source
		if v.folder {
			if err := checkApart("volume", dir, v.Source); err != nil {
				return nil, err
			}
			image = filepath.Join(dir, fmt.Sprintf("volume-%d.ext4", i))
			skipped, err := rootfs.WriteFolder(ctx, image, v.Source)
			if err != nil {
				return nil, err
			}
			for _, name := range skipped {
				fmt.Fprintf(stderr, "kindling: volume %s: left out %s\n", v.Source, name)
			}
		}
		mount := contract.VolumeMount{Path: v.Path, Mode: v.Mode}
		mount.Device = add(vm.Disk{Path: image, ReadOnly: v.Mode != contract.VolumeReadWrite})
		if v.Mode == contract.VolumeOverlay {
			layer := filepath.Join(dir, fmt.Sprintf("volume-%d-overlay.raw", i))
			if err := rootfs.WriteOverlay(layer, overlaySize); err != nil {
				return nil, err
			}
			mount.OverlayDevice = add(vm.Disk{Path: layer})
		}
		config.VolumeMounts = append(config.VolumeMounts, mount)
	}
	return disks, nil
}

// checkApart checks that a folder does not hold the machine's own, which the
// folder's disk is written to.
func checkApart(what, dir, folder string) error {
	source, err := filepath.EvalSymlinks(folder)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return fmt.Errorf("use %s %s: %w", what, folder, err)
	}
	if within, err := filepath.Rel(source, dir); err == nil && filepath.IsLocal(within) {
		return fmt.Errorf("use %s %s: it holds the state folder of kindling; KINDLING_STATE_DIR names another place", what, folder)
	}
	return nil
}
