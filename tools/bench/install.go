package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/kindling-vm/kindling/system/bundle"
)

// installSuite installs a set of the size of the shipped one from a folder, and
// ones of 4 and 16 times that.
func installSuite(ctx context.Context, b *bench) ([]figure, error) {
	hostside, err := b.program(ctx, "tools/bench/hostside")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, scale := range scales(b.short) {
		set := b.path(fmt.Sprintf("set%d", scale))
		if err := writeSet(set, int64(scale)); err != nil {
			return nil, err
		}
		data, copied := b.path("data"), b.path("copy")
		install := [][]string{{hostside, "install", set, data}}
		f := figure{name: fmt.Sprintf("install %d MB", scale*(kernelSize+initrdSize)>>20), series: "install", scale: scale,
			reference: "cp + sha256sum", contenders: []contender{
				{name: "kindling", output: data, commands: install},
				{name: "kindling, again", output: data, again: true, commands: install},
				{name: "cp + sha256sum", output: copied,
					commands: [][]string{{"cp", "-r", set, copied}, shell(`find "$1" -type f -exec sha256sum {} +`, set)}},
				{name: "cp + sync + sha256sum", output: copied, commands: [][]string{
					{"cp", "-r", set, copied}, shell(`sync -f "$1"`, copied), shell(`find "$1" -type f -exec sha256sum {} +`, set)}},
			}}
		if scale == 1 {
			f.levels = []level{
				{contender: "kindling", against: "cp + sha256sum", quantity: duration, atMost: 1.2},
				{contender: "kindling, again", quantity: duration, atMost: 0.020},
			}
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// Sizes of the shipped set's large files, in bytes.
const (
	kernelSize = 53 << 20
	initrdSize = 24 << 20
)

// writeSet makes a set for one architecture of so many times the usual size.
func writeSet(dir string, scale int64) error {
	info, err := (&bundle.KernelDescription{
		Version: bundle.KernelDescriptionVersion, Arch: "x86_64", Release: "6.1.0-50-cloud-amd64",
	}).Marshal()
	if err != nil {
		return fmt.Errorf("describe kernel: %w", err)
	}
	arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0"}
	random := rand.NewChaCha8([32]byte{1})
	for _, file := range []struct {
		kind bundle.Kind
		name string
		size int64
	}{
		{bundle.Kernel, "x86_64/vmlinux", kernelSize * scale},
		{bundle.Initrd, "x86_64/initrd", initrdSize * scale},
		{bundle.KernelInfo, "x86_64/kernel.json", int64(len(info))},
	} {
		content := io.LimitReader(random, file.size)
		if file.kind == bundle.KernelInfo {
			content = bytes.NewReader(info)
		}
		if err := writeBody(filepath.Join(dir, file.name), content); err != nil {
			return fmt.Errorf("write set: %w", err)
		}
		described, err := bundle.Describe(os.DirFS(dir), file.kind, file.name)
		if err != nil {
			return err
		}
		arch.Files = append(arch.Files, described)
	}
	manifest := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := manifest.MarshalCanonical()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), data, 0o600); err != nil {
		return fmt.Errorf("write set: %w", err)
	}
	return nil
}
