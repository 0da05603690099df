// Package volumes mounts the volumes of the config into the image. PID 1 calls
// Mount once the image's own file system is mounted and, for nfs, the network
// is up, and before the image becomes the root: every target is resolved inside
// the image.
//
// It does not decide what a missing volume means for the boot.
package volumes

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/init/internal/fsmount"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// Disks is what the caller knows of disks. Wait is called for one disk after
// the other, Type for several at once.
type Disks struct {
	// Wait returns once the disk can be opened.
	Wait func(device string) error
	// Type gives the name of the disk's file system as its superblock says.
	Type func(device string) (string, error)
}

// support is where the parts of overlay volumes are mounted until the overlay
// holds them, outside of the image.
const support = "/mnt/volumes"

// Mount mounts the volumes at their paths inside root. Modes are those of
// contract.VolumeMount; any other is rw. File systems are read in parallel,
// since a journal's recovery takes its time; they are attached in the order of
// the list, so one may be inside another that is before it. It goes on after a
// failure and returns one error for each volume that is not there.
func Mount(root *inroot.Root, list []contract.VolumeMount, disks Disks) []error {
	return mount(root, list, disks, support)
}

func mount(root *inroot.Root, list []contract.VolumeMount, disks Disks, support string) []error {
	mounts := make([]int, len(list))
	errs := make([]error, len(list))
	var tasks sync.WaitGroup
	for i, volume := range list {
		mounts[i] = -1
		if errs[i] = check(volume, disks); errs[i] != nil {
			continue
		}
		tasks.Go(func() {
			defer func() {
				// A panic on a goroutine would be the end of PID 1.
				if reason := recover(); reason != nil {
					errs[i] = fmt.Errorf("init panicked: %v", reason)
				}
			}()
			mounts[i], errs[i] = create(volume, disks, path.Join(support, strconv.Itoa(i)))
		})
	}
	tasks.Wait()
	var problems []error
	for i, volume := range list {
		if errs[i] == nil {
			errs[i] = attach(root, volume.Path, mounts[i])
			unix.Close(mounts[i])
		}
		if errs[i] != nil {
			problems = append(problems, fmt.Errorf("volume %d at %q: %w", i, volume.Path, errs[i]))
		}
	}
	return problems
}

// check waits for the disks of a volume that has what its mode needs.
func check(volume contract.VolumeMount, disks Disks) error {
	if path.Clean("/"+volume.Path) == "/" {
		return errors.New("the image itself is there")
	}
	if volume.Mode == contract.VolumeNFS {
		if volume.NFSHost == "" || volume.NFSExport == "" {
			return errors.New("nfs needs a host and an export")
		}
		return nil
	}
	needed := []string{volume.Device}
	if volume.Mode == contract.VolumeOverlay {
		needed = append(needed, volume.OverlayDevice)
	}
	for _, device := range needed {
		if device == "" {
			return fmt.Errorf("mode %s needs a disk more", volume.Mode)
		}
		if err := disks.Wait(device); err != nil {
			return err
		}
	}
	return nil
}

// create gives a mount that is attached nowhere.
func create(volume contract.VolumeMount, disks Disks, support string) (int, error) {
	switch volume.Mode {
	case contract.VolumeReadOnly:
		return createDisk(volume.Device, true, disks)
	case contract.VolumeOverlay:
		return createOverlay(volume, disks, support)
	case contract.VolumeNFS:
		return createNFS(volume)
	default:
		return createDisk(volume.Device, false, disks)
	}
}

func createDisk(device string, readOnly bool, disks Disks) (int, error) {
	fstype, err := disks.Type(device)
	if err != nil {
		return -1, err
	}
	options := []string{"source=" + device}
	switch fstype {
	case "erofs", "squashfs":
		if !readOnly {
			return -1, fmt.Errorf("%s has %s, which cannot be written", device, fstype)
		}
	case "ext4":
		if readOnly {
			// Others may have the disk as well, and one of them the right to write.
			options = append(options, "noload")
		}
	}
	mount, err := fsmount.Create(fstype, readOnly, options...)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", device, err)
	}
	return mount, nil
}

// createOverlay mounts both disks below support for as long as it takes: the
// overlay has mounts of its own of its layers, but takes only such as are
// attached (clone_private_mount in the kernel's fs/namespace.c).
func createOverlay(volume contract.VolumeMount, disks Disks, support string) (mount int, err error) {
	lower, err := createDisk(volume.Device, true, disks)
	if err != nil {
		return -1, err
	}
	defer unix.Close(lower)
	layer, err := createDisk(volume.OverlayDevice, false, disks)
	if err != nil {
		return -1, err
	}
	defer unix.Close(layer)
	for _, part := range []struct {
		mount int
		name  string
	}{{lower, "base"}, {layer, "layer"}} {
		dir := path.Join(support, part.name)
		if err := attachSupport(part.mount, dir); err != nil {
			return -1, err
		}
		defer func() {
			// The descriptors of the mount still use it.
			if detachErr := unix.Unmount(dir, unix.MNT_DETACH); detachErr != nil {
				err = errors.Join(err, fmt.Errorf("unmount %s: %w", dir, detachErr))
			}
		}()
	}
	// The layer may have links: its folders are looked for inside of it.
	disk, err := inroot.Open(fdPath(layer))
	if err != nil {
		return -1, err
	}
	defer disk.Close()
	options := []string{"source=overlay", "lowerdir=" + fdPath(lower)}
	for _, option := range []struct{ key, dir string }{{"upperdir", "/upper"}, {"workdir", "/work"}} {
		fd, err := disk.EnsureDirectory(option.dir)
		if err != nil {
			return -1, fmt.Errorf("%s: %w", volume.OverlayDevice, err)
		}
		defer unix.Close(fd)
		options = append(options, option.key+"="+fdPath(fd))
	}
	return fsmount.Create("overlay", false, options...)
}

// attachSupport mounts at a path of the initrd.
func attachSupport(mount int, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open mount point %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return fsmount.Attach(mount, fd)
}

// createNFS mounts version 4 over TCP. The kernel resolves no names, and PID 1
// does not either.
func createNFS(volume contract.VolumeMount) (int, error) {
	addr, err := netip.ParseAddr(volume.NFSHost)
	if err != nil {
		return -1, fmt.Errorf("parse nfs host: %w", err)
	}
	host := addr.String()
	if addr.Is6() {
		host = "[" + host + "]"
	}
	return fsmount.Create("nfs", false,
		"source="+host+":"+volume.NFSExport, "vers=4", "addr="+addr.String(), "proto=tcp", "hard", "timeo=100", "retrans=3")
}

// attach makes a mount visible at a path inside root.
func attach(root *inroot.Root, name string, mount int) error {
	dir, err := root.EnsureDirectory(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	isRoot, err := root.Is(dir)
	if err != nil {
		return err
	}
	if isRoot { // by way of a link
		return errors.New("the image itself is there")
	}
	return fsmount.Attach(mount, dir)
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
