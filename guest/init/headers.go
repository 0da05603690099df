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

// startHeaders has the kernel's headers put into the image once the application
// has started, which does not wait for them. All that this needs of the initramfs
// is opened now. An initrd without any has nothing to put.
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
	var loads []func() error
	for _, module := range []string{"loop", "squashfs"} {
		if m.modules == nil || !m.modules.Has(module) {
			continue // built in
		}
		load, err := m.modules.Prepare(module)
		if err != nil {
			m.log.failed("headers", err)
			continue
		}
		loads = append(loads, load)
	}
	if m.handsOver() { // and another program takes this one's place
		return m.installHeaders(installer, image, loads)
	}
	m.afterStart = append(m.afterStart, func() {
		if err := headers.Background(func() error { return m.installHeaders(installer, image, loads) }); err != nil {
			m.log.failed("headers", err)
		}
	})
	return installer.Pending()
}

func (m *machine) installHeaders(installer *headers.Installer, image *os.File, loads []func() error) (err error) {
	defer func() { err = errors.Join(err, installer.Root.Close()) }()
	for _, load := range loads {
		if err := load(); err != nil {
			m.log.failed("headers", err) // the mount fails, or can do without
		}
	}
	if err := errors.Join(installer.Install(image), image.Close()); err != nil {
		return err
	}
	return installer.RemoveOthers()
}
