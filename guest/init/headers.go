package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/headers"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// headersImage is where the initrd has the kernel's headers, a squashfs.
const headersImage = "kernel-headers.squashfs"

// announceHeaders says in the headers' status file that they are to come, if the
// initrd has any and they are wanted.
func (m *machine) announceHeaders() error {
	return m.withHeaders(func(_ *os.File, installer *headers.Installer) error { return installer.Pending() })
}

// installHeaders puts the kernel's headers into the image.
func (m *machine) installHeaders() error {
	return m.withHeaders(func(image *os.File, installer *headers.Installer) error {
		for _, module := range []string{"loop", "squashfs"} {
			if err := m.load(module); err != nil {
				m.log.failed("headers", err) // the mount fails, or can do without
			}
		}
		if err := installer.Install(image); err != nil {
			return err
		}
		return installer.RemoveOthers()
	})
}

// withHeaders opens the initrd's image of headers for a function. Without one,
// or with nobody who wants it, the function is not called.
func (m *machine) withHeaders(do func(image *os.File, installer *headers.Installer) error) (err error) {
	if m.config.SkipKernelHeaders {
		return nil
	}
	fd, err := unix.Openat(m.initramfs, headersImage, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open kernel headers: %w", err)
	}
	image := os.NewFile(uintptr(fd), headersImage)
	defer func() { err = errors.Join(err, image.Close()) }()
	root, err := inroot.Open("/")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return do(image, &headers.Installer{
		Root: root, Release: m.release, Now: time.Now,
		Log: func(format string, args ...any) { m.log.info("headers", format, args...) },
	})
}
