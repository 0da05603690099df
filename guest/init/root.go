package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// agentSource is where the initrd has the agent.
const agentSource = "/usr/local/bin/guest-agent"

// newRoot is where the root is put together before it becomes the root.
const newRoot = "/overlay/newroot"

// mountOverlay mounts the image below the machine's own writable layer. The
// overlay's features, as redirect_dir, are those that the kernel was built with.
func (m *machine) mountOverlay() (err error) {
	for _, disk := range []mount{
		{source: contract.RootDisk, target: "/lower", flags: readOnly},
		{source: contract.OverlayDisk, target: "/overlay"},
	} {
		if err := m.disks.wait(disk.source); err != nil {
			return err
		}
		if disk.fstype, err = m.diskType(disk.source); err != nil {
			return err
		}
		if err := mountAt(disk); err != nil {
			return err
		}
	}
	if m.overlayDir, err = openDirectory("/overlay"); err != nil {
		return err
	}
	for _, dir := range []string{"/overlay/upper", "/overlay/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder on overlay disk %s: %w", contract.OverlayDisk, err)
		}
	}
	return mountAt(mount{source: "overlay", target: newRoot, fstype: "overlay", data: "lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work"})
}

func openDirectory(name string) (int, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", name, err)
	}
	return fd, nil
}

// fdPath is a path to what a descriptor has open.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// placeAgent makes the agent visible in the image by a bind mount, which costs
// nothing where a copy would read and write all of it. A link in the image
// cannot lead the mount out of the image.
func (m *machine) placeAgent() error {
	if m.config.SkipGuestAgent {
		return nil
	}
	return inNewRoot(func(root *inroot.Root) error {
		file, err := root.EnsureFile(contract.AgentPath)
		if err != nil {
			return err
		}
		defer unix.Close(file)
		if err := unix.Mount(agentSource, fdPath(file), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind agent to %s: %w", contract.AgentPath, err)
		}
		return nil
	})
}

// switchRoot moves the kernel's file systems into the new root and makes it the
// root. The initramfs cannot be left by pivot_root(2), so the new root is moved
// over it (Documentation/filesystems/ramfs-rootfs-initramfs.rst): container
// runtimes and user namespaces then take the image for the root that it is.
func (m *machine) switchRoot() (err error) {
	if m.initramfs, err = openDirectory("/"); err != nil {
		return err
	}
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
	if errors.Is(err, os.ErrNotExist) {
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

// directories are what programs expect of any root. An image's own stay as they
// are, with what they hold: many images have files in /run and /tmp.
var directories = []struct {
	name string
	mode uint32
}{
	{"/run", 0o755},
	{"/tmp", 0o1777},
	{recordDir, 0o755},
}

// makeDirectories makes what is missing of directories, and init's own.
func (m *machine) makeDirectories() error {
	for _, dir := range directories {
		if dir.name == recordDir && m.handsOver() {
			// systemd takes a /run that is a mount for what it would mount.
			if err := mountAt(mount{source: "tmpfs", target: "/run", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, data: "mode=0755"}); err != nil {
				return err
			}
		}
		err := unix.Mkdir(dir.name, dir.mode)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err == nil && dir.mode&unix.S_ISVTX != 0 {
			err = unix.Chmod(dir.name, dir.mode) // past the umask
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", dir.name, err)
		}
	}
	if m.handsOver() {
		return nil
	}
	return mountAt(mount{source: "tmpfs", target: recordDir, fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, data: "mode=0755,size=1m"})
}
