package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/tools/internal/deb"
)

// kernel is what comes out of a package or a bare file.
type kernel struct {
	data       []byte // as its publisher ships it
	config     []byte // nil where there is none
	configFrom string // package, image or none
}

func prepare(o *options) (err error) {
	requirements, err := readRequirements(o.requirements)
	if err != nil {
		return err
	}
	isPackage, err := startsLikePackage(o.kernel)
	if err != nil {
		return err
	}
	if !isPackage {
		if o.modules != "" {
			return errors.New("a bare kernel has no modules for --modules")
		}
		k, err := readBare(o.kernel, o.sha256)
		if err != nil {
			return err
		}
		return finish(o, k, nil, requirements)
	}
	if o.modules == "" {
		return errors.New("a package needs the flag --modules")
	}
	modulesFile, err := pendingFile(o.modules)
	if err != nil {
		return fmt.Errorf("create modules file: %w", err)
	}
	defer func() { err = errors.Join(err, modulesFile.Cleanup()) }()
	// One goroutine, so that the bytes are the same on every machine.
	compressor, err := zstd.NewWriter(modulesFile, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	index := newModuleIndex(compressor, o.arch)
	k, err := readPackage(o.kernel, o.sha256, index)
	if err != nil {
		return errors.Join(err, compressor.Close())
	}
	return finish(o, k, func(release string) (func() error, error) {
		if err := errors.Join(index.finish(release), compressor.Close()); err != nil {
			return nil, err
		}
		return modulesFile.CloseAtomicallyReplace, nil
	}, requirements)
}

// startsLikePackage tells an ar archive, deb(5), from a kernel.
func startsLikePackage(name string) (is bool, err error) {
	const magic = "!<arch>\n"
	file, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(file, start); err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return false, err
	}
	return string(start) == magic, nil
}

func readBare(name, digest string) (*kernel, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != digest {
		return nil, &deb.DigestError{Path: name, Got: got, Want: digest}
	}
	return &kernel{data: data, configFrom: "none"}, nil
}

// readPackage gives the kernel of a package and its modules to the index.
func readPackage(name, digest string, index *moduleIndex) (*kernel, error) {
	k := &kernel{configFrom: "none"}
	err := deb.Read(name, digest, func(header *tar.Header, body io.Reader) error {
		name := path.Clean(header.Name)
		isKernel := strings.HasPrefix(name, "boot/vmlinuz-")
		isConfig := strings.HasPrefix(name, "boot/config-")
		switch {
		case header.Typeflag != tar.TypeReg:
			if isKernel || isConfig || strings.HasPrefix(name, "lib/modules/") && isModule(name) {
				return fmt.Errorf("%s is no regular file", name)
			}
			return nil
		case isKernel:
			if k.data != nil {
				return fmt.Errorf("package has a second kernel, %s", name)
			}
			data, err := readAll(body, header.Size)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			k.data = data
			return nil
		case isConfig:
			if k.config != nil {
				return fmt.Errorf("package has a second configuration, %s", name)
			}
			data, err := readAll(body, header.Size)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			k.config, k.configFrom = data, "package"
			return nil
		case strings.HasPrefix(name, "lib/modules/"):
			return index.add(name, header.Size, body)
		default:
			return nil
		}
	})
	if err == nil && k.data == nil {
		err = errors.New("package has no boot/vmlinuz-*")
	}
	return k, err
}

// finish checks the kernel and writes the outputs: all of them, or none.
// finishModules, for a package, checks that the modules are of the release and
// gives what makes their file appear.
func finish(o *options, k *kernel, finishModules func(release string) (func() error, error), requirements requirements) error {
	image, err := kernelimage.Unpack(bytes.NewReader(k.data), int64(len(k.data)))
	if err != nil {
		return fmt.Errorf("unpack kernel: %w", err)
	}
	info, err := kernelimage.Inspect(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	for _, hypervisor := range []kernelimage.Hypervisor{kernelimage.CloudHypervisor, kernelimage.QEMU} {
		if err := info.CheckLoadable(hypervisor, o.arch); err != nil {
			return fmt.Errorf("check kernel %s: %w", info.Release, err)
		}
	}
	if k.config == nil && info.Config != nil {
		k.config, k.configFrom = info.Config, "image"
	}
	description, err := describe(info, k, finishModules != nil, requirements)
	if err != nil {
		return fmt.Errorf("check kernel %s: %w", info.Release, err)
	}
	outputs := []func() error{
		func() error { return writeFile(o.image, image) },
		func() error { return writeFile(o.description, description) },
	}
	if finishModules != nil {
		appear, err := finishModules(info.Release)
		if err != nil {
			return err
		}
		outputs = append(outputs, appear)
	}
	names := []string{o.image, o.description}
	for i, output := range outputs {
		if err := output(); err != nil {
			err = fmt.Errorf("write output: %w", err)
			for _, written := range names[:min(i, len(names))] {
				err = errors.Join(err, os.Remove(written))
			}
			return err
		}
	}
	return nil
}

func pendingFile(name string) (*renameio.PendingFile, error) {
	return renameio.NewPendingFile(name, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(name)))
}

func writeFile(name string, data []byte) error {
	return renameio.WriteFile(name, data, 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(name)))
}

// readAll reads exactly size bytes.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size > kernelimage.MaxSize {
		return nil, fmt.Errorf("%d bytes, want at most %d", size, kernelimage.MaxSize)
	}
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, err
}
