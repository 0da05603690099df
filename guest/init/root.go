package main

import (
	"errors"
	"fmt"
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
		{source: contract.RootDisk, target: "/lower", fstype: "ext4", flags: readOnly},
		{source: contract.OverlayDisk, target: "/overlay", fstype: "ext4"},
	} {
		if err := m.disks.wait(disk.source); err != nil {
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
		return os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("look at mount point: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("mount point %s of the image is no directory", dir)
	}
	return nil
}
