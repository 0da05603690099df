// Kernelprep takes a Debian kernel package apart: the kernel as the ELF file
// that hypervisors load, and its modules as a tar file with the dependencies
// that depmod would find on an installed system.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/tools/internal/deb"
)

// maxKernel bounds a kernel file, packed or not, in bytes.
const maxKernel = 256 << 20

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "kernelprep: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("kernelprep", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pkg := flags.String("deb", "", "Debian kernel package `FILE`")
	sha256 := flags.String("sha256", "", "the package's digest in `HEX`")
	arch := flags.String("arch", "", "architecture that the kernel must be for")
	refetch := flags.String("refetch", "", "`COMMAND` that fetches the package again, for the message about a changed one")
	vmlinux := flags.String("vmlinux", "", "write the ELF kernel to `FILE`")
	modules := flags.String("modules", "", "write the modules to this tar `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range []string{"deb", "sha256", "arch", "vmlinux", "modules"} {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("missing flag --%s", name)
		}
	}
	if err := prepare(*pkg, *sha256, *arch, *vmlinux, *modules); err != nil {
		return fmt.Errorf("prepare kernel from %s: %w", *pkg, deb.Advise(err, *refetch))
	}
	return nil
}

func prepare(pkg, sha256, arch, vmlinux, modules string) (err error) {
	modulesFile, err := renameio.NewPendingFile(modules, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(modules)))
	if err != nil {
		return fmt.Errorf("create modules file: %w", err)
	}
	defer func() { err = errors.Join(err, modulesFile.Cleanup()) }()

	var kernel bzImage
	index := newModuleIndex(modulesFile, arch)
	err = deb.Read(pkg, sha256, func(header *tar.Header, body io.Reader) error {
		name := path.Clean(header.Name)
		isKernel := strings.HasPrefix(name, "boot/vmlinuz-")
		switch {
		case header.Typeflag != tar.TypeReg:
			if isKernel || strings.HasPrefix(name, "lib/modules/") && isModule(name) {
				return fmt.Errorf("%s is no regular file", name)
			}
			return nil
		case isKernel:
			if kernel.data != nil {
				return fmt.Errorf("package has a second kernel, %s", name)
			}
			data, err := readAll(body, header.Size)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			kernel, err = parseBzImage(data)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			return nil
		case strings.HasPrefix(name, "lib/modules/"):
			return index.add(name, header.Size, body)
		default:
			return nil
		}
	})
	if err != nil {
		return err
	}
	if kernel.data == nil {
		return fmt.Errorf("package has no boot/vmlinuz-*")
	}
	if err := index.finish(kernel.release); err != nil {
		return err
	}
	image, err := kernel.unpack()
	if err != nil {
		return fmt.Errorf("unpack kernel %s: %w", kernel.release, err)
	}
	if err := checkKernel(bytes.NewReader(image), arch); err != nil {
		return fmt.Errorf("check kernel %s: %w", kernel.release, err)
	}
	if err := renameio.WriteFile(vmlinux, image, 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(vmlinux))); err != nil {
		return fmt.Errorf("write kernel: %w", err)
	}
	if err := modulesFile.CloseAtomicallyReplace(); err != nil {
		return errors.Join(fmt.Errorf("write modules: %w", err), os.Remove(vmlinux))
	}
	return nil
}

// readAll reads exactly size bytes.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size > maxKernel {
		return nil, fmt.Errorf("%d bytes, want at most %d", size, maxKernel)
	}
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, err
}
