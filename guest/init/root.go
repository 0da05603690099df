package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// agentSource is where the initrd has the agent.
const agentSource = "/usr/local/bin/guest-agent"

// newRoot is where the root is put together before it becomes the root.
const newRoot = "/overlay/newroot"

// mountOverlay mounts the image below the machine's own writable layer.
func (m *machine) mountOverlay() error {
	for _, disk := range []mount{
		{source: contract.RootDisk, target: "/lower", flags: readOnly},
		{source: contract.OverlayDisk, target: "/overlay"},
	} {
		err := m.disks.wait(disk.source)
		if err != nil {
			return err
		}
		if disk.fstype, err = diskType(disk.source); err != nil {
			return err
		}
		if err := mountAt(disk); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/overlay/upper", "/overlay/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make overlay folder: %w", err)
		}
	}
	return mountAt(mount{source: "overlay", target: newRoot, fstype: "overlay", data: "lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work"})
}

// diskType tells an erofs disk by its superblock (EROFS_SUPER_OFFSET of the
// kernel's fs/erofs/erofs_fs.h and EROFS_SUPER_MAGIC_V1 of linux/magic.h, in
// little-endian order). Any other is taken for ext4, whose driver says why not.
func diskType(device string) (string, error) {
	const offset, magic = 1024, "\xe2\xe1\xf5\xe0"
	disk, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("open disk: %w", err)
	}
	defer disk.Close()
	begin := make([]byte, len(magic))
	if _, err := disk.ReadAt(begin, offset); err != nil && err != io.EOF {
		return "", fmt.Errorf("read disk: %w", err)
	}
	if string(begin) == magic {
		return "erofs", nil
	}
	return "ext4", nil
}

// placeAgent makes the agent visible in the image by a bind mount, which costs
// nothing where a copy would read and write all of it. A link in the image
// cannot lead the mount out of the image.
func (m *machine) placeAgent() error {
	if m.config.SkipGuestAgent {
		return nil
	}
	root, err := unix.Open(newRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open new root: %w", err)
	}
	defer unix.Close(root)
	file, err := ensureFileIn(root, contract.AgentPath)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	if err := unix.Mount(agentSource, fmt.Sprintf("/proc/self/fd/%d", file), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind agent to %s: %w", contract.AgentPath, err)
	}
	return nil
}

// switchRoot moves the kernel's file systems into the new root and makes it the
// root. The initramfs cannot be left by pivot_root(2), so the new root is moved
// over it (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
func (m *machine) switchRoot() error {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		target := newRoot + dir
		if err := ensureDirectory(target); err != nil {
			return err
		}
		if err := unix.Mount(dir, target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s into the new root: %w", dir, err)
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

// ensureDirectory makes a mount point. A link there could lead out of the image.
func ensureDirectory(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at mount point: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("mount point %s of the image is no directory", dir)
	}
	return nil
}
