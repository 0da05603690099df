package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// diskTimeout bounds the wait for one disk. A disk is there within
// milliseconds of its driver, but a host under load can take seconds.
const diskTimeout = 10 * time.Second

// diskWatch waits for disks, woken by the kernel's uevents
// (Documentation/core-api/kobject.rst; NETLINK_KOBJECT_UEVENT of netlink(7)).
type diskWatch struct {
	socket  int
	timeout time.Duration
}

func watchDisks(timeout time.Duration) (*diskWatch, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open uevent socket: %w", err)
	}
	const kernelGroup = 1
	if err := unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for uevents: %w", err), unix.Close(socket))
	}
	return &diskWatch{socket: socket, timeout: timeout}, nil
}

// closeDiskWatch ends the watch: nobody would read what the kernel goes on to
// tell.
func (m *machine) closeDiskWatch() error {
	if err := unix.Close(m.disks.socket); err != nil {
		return fmt.Errorf("close uevent socket: %w", err)
	}
	return nil
}

// wait returns once the disk can be opened.
func (w *diskWatch) wait(device string) error {
	return w.waitUntil(device, time.Now().Add(w.timeout))
}

// waitUntil is wait with an end that several disks can share. A disk's node is
// there a little earlier than the disk (ENXIO), and the kernel tells of it last
// (device_add_disk in block/genhd.c).
func (w *diskWatch) waitUntil(device string, deadline time.Time) error {
	for {
		file, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return file.Close()
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("look for disk: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("disk %s is missing: not there after %v", device, w.timeout)
		}
		if err := w.next(left); err != nil {
			return fmt.Errorf("wait for disk %s: %w", device, err)
		}
	}
}

// next returns after at least one uevent or when the limit has passed. What
// the events say does not matter: the disk is what counts.
func (w *diskWatch) next(limit time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(w.socket), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(limit.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll uevents: %w", err)
	}
	event := make([]byte, 4096)
	for {
		// ENOBUFS: events were lost, which is news as good as any.
		_, _, err := unix.Recvfrom(w.socket, event, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("read uevent: %w", err)
		}
	}
}

// superblocks tell file systems apart by their magic numbers, in the order of
// the disk's bytes: SQUASHFS_MAGIC of fs/squashfs/squashfs_fs.h at 0,
// EROFS_SUPER_MAGIC_V1 of linux/magic.h at EROFS_SUPER_OFFSET, and
// EXT4_SUPER_MAGIC at s_magic of Documentation/filesystems/ext4/super.rst.
var superblocks = []struct {
	fstype, magic string
	offset        int
}{
	{"squashfs", "hsqs", 0},
	{"erofs", "\xe2\xe1\xf5\xe0", 1024},
	{"ext4", "\x53\xef", 1024 + 0x38},
}

// diskType is the disk's file system, which the kernel then has if it can.
// Several may ask at once.
func (m *machine) diskType(device string) (string, error) {
	fstype, err := diskType(device)
	if err != nil {
		return "", err
	}
	return fstype, m.load(fstype)
}

// diskType is the disk's file system by its superblock. To try one after the
// other would have the kernel complain of each.
func diskType(device string) (string, error) {
	disk, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("open disk: %w", err)
	}
	defer disk.Close()
	begin := make([]byte, 4096)
	n, err := io.ReadFull(disk, begin)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", fmt.Errorf("read disk: %w", err)
	}
	for _, s := range superblocks {
		if n >= s.offset && bytes.HasPrefix(begin[s.offset:n], []byte(s.magic)) {
			return s.fstype, nil
		}
	}
	return "", fmt.Errorf("disk %s has no file system that is known: want erofs, ext4 or squashfs", device)
}
