package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/internal/deb"
	"github.com/kindling-vm/kindling/tools/pin/internal/debian"
)

// maxUnpacked bounds what an archive may unpack to, in bytes.
const maxUnpacked = 8 << 30

// inspect refuses a file that cannot be what its entry says, and describes it.
func inspect(r io.ReaderAt, size int64, artifact *lock.Artifact) (string, error) {
	content := io.NewSectionReader(r, 0, size)
	switch {
	case artifact.Package != "":
		return inspectPackage(content, artifact)
	case artifact.Kind == lock.Kernel:
		return inspectKernel(content, artifact)
	default:
		return inspectArchive(content)
	}
}

func inspectPackage(r io.Reader, artifact *lock.Artifact) (string, error) {
	got, err := deb.ReadControl(r)
	if err != nil {
		return "", err
	}
	want := deb.Control{Package: artifact.Package, Version: artifact.Version, Architecture: debian.Arch(artifact.Arch)}
	if got != want {
		return "", fmt.Errorf("it is package %s %s for %s, want %s %s for %s",
			got.Package, got.Version, got.Architecture, want.Package, want.Version, want.Architecture)
	}
	return "Debian package", nil
}

func inspectKernel(r *io.SectionReader, artifact *lock.Artifact) (string, error) {
	info, err := kernelimage.Inspect(r, r.Size())
	if err != nil {
		return "", err
	}
	if info.Arch != artifact.Arch {
		return "", fmt.Errorf("kernel is for %s, want %s", info.Arch, artifact.Arch)
	}
	if info.Release == "" {
		return "", errors.New("it has no version text: it is no Linux kernel")
	}
	return fmt.Sprintf("kernel %s, %s", info.Release, info.Format), nil
}

func inspectArchive(r io.Reader) (string, error) {
	unpacked, err := gzip.NewReader(r)
	if err != nil {
		return "", fmt.Errorf("read gzip: %w", err)
	}
	limited := &io.LimitedReader{R: unpacked, N: maxUnpacked}
	archive := tar.NewReader(limited)
	entries := 0
	for {
		_, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read tar: %w", err)
		}
		entries++
	}
	// gzip has its sum at the end.
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return "", fmt.Errorf("read gzip: %w", err)
	}
	switch {
	case limited.N == 0:
		return "", fmt.Errorf("archive unpacks to %d bytes or more", int64(maxUnpacked))
	case entries == 0:
		return "", errors.New("archive has no entries")
	}
	return fmt.Sprintf("archive of %d entries", entries), nil
}
