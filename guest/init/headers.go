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

// startHeaders has the kernel's headers put into the image while the application
// starts. An initrd without any has nothing to put.
func (m *machine) startHeaders() error {
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
	root, err := inroot.Open("/")
	if err != nil {
		return errors.Join(err, image.Close())
	}
	installer := &headers.Installer{
		Root: root, Release: m.release, Now: time.Now,
		Log: func(format string, args ...any) { m.log.info("headers", format, args...) },
	}
	for _, module := range []string{"loop", "squashfs"} {
		if err := m.load(module); err != nil {
			m.log.failed("headers", err)
		}
	}
	if m.handsOver() { // and another program takes this one's place
		return m.installHeaders(installer, image)
	}
	err = installer.Pending()
	go func() {
		if err := m.do(func() error { return m.installHeaders(installer, image) }); err != nil {
			m.log.failed("headers", err)
		}
	}()
	return err
}

func (m *machine) installHeaders(installer *headers.Installer, image *os.File) (err error) {
	defer func() { err = errors.Join(err, installer.Root.Close()) }()
	if err := errors.Join(installer.Install(image), image.Close()); err != nil {
		return err
	}
	return installer.RemoveOthers()
}
