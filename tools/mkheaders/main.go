// Mkheaders makes the kernel headers that a guest builds modules with: one
// folder with all of it, as a squashfs image that the guest mounts at
// /usr/src/linux-headers-RELEASE.
//
// Its input are the three packages into which Debian takes the headers of one
// kernel apart, or the tarball of a publisher who does not. It checks that they
// are of the kernel's release and that the programs among them run in the guest.
package main

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/tools/internal/deb"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
	"github.com/kindling-vm/kindling/tools/internal/squashfs"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mkheaders: %v\n", err)
		os.Exit(1)
	}
}

// part is a package or tarball.
type part struct{ name, sha256, refetch string }

// options are the command line.
type options struct {
	arch        string
	parts       []*part
	description string
	glibc       string
	format      string
	out         string
}

func run(args []string, stderr io.Writer) error {
	var o options
	// last is the part that a flag belongs to.
	last := func(set func(*part)) error {
		if len(o.parts) == 0 {
			return errors.New("a --part must stand before it")
		}
		set(o.parts[len(o.parts)-1])
		return nil
	}
	flags := flag.NewFlagSet("mkheaders", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.arch, "arch", "", "architecture of the guest")
	flags.Func("part", "Debian package or tarball `FILE`", func(name string) error {
		o.parts = append(o.parts, &part{name: name})
		return nil
	})
	flags.Func("sha256", "the part's digest in `HEX`", func(digest string) error {
		return last(func(p *part) { p.sha256 = digest })
	})
	flags.Func("refetch", "`COMMAND` that fetches the part again, for the message about a changed one", func(command string) error {
		return last(func(p *part) { p.refetch = command })
	})
	flags.StringVar(&o.description, "description", "", "kernel.json `FILE` of the kernel")
	flags.StringVar(&o.glibc, "glibc", "", "newest `VERSION` of glibc that programs may ask for")
	flags.StringVar(&o.format, "format", "squashfs", "of the output: squashfs or tar.gz")
	flags.StringVar(&o.out, "out", "", "write the headers to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range []string{"arch", "description", "glibc", "out"} {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("missing flag --%s", name)
		}
	}
	if len(o.parts) == 0 {
		return errors.New("missing flag --part")
	}
	if o.format != "squashfs" && o.format != "tar.gz" {
		return fmt.Errorf("format %q is unknown, want squashfs or tar.gz", o.format)
	}
	if err := elfcheck.CheckArch(o.arch); err != nil {
		return err
	}
	if err := makeHeaders(&o); err != nil {
		return fmt.Errorf("make headers %s: %w", o.out, err)
	}
	return nil
}

func makeHeaders(o *options) (err error) {
	data, err := os.ReadFile(o.description)
	if err != nil {
		return err
	}
	kernel, err := bundle.ParseKernelDescription(data)
	if err != nil {
		return fmt.Errorf("read %s: %w", o.description, err)
	}
	if kernel.Arch != o.arch {
		return fmt.Errorf("kernel is for %s, want %s", kernel.Arch, o.arch)
	}
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	for _, part := range o.parts {
		if err := addPart(tree, part, o.arch); err != nil {
			return fmt.Errorf("add %s: %w", part.name, deb.Advise(err, part.refetch))
		}
	}
	if err := check(tree, o.arch, kernel.Release, o.glibc); err != nil {
		return fmt.Errorf("check headers: %w", err)
	}
	out, err := renameio.NewPendingFile(o.out, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(o.out)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	write := squashfs.Write
	if o.format == "tar.gz" {
		write = writeTarball
	}
	if err := write(out, tree); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// writeTarball writes the headers as publishers of kernels give them to guests
// that unpack them.
func writeTarball(w io.WriterAt, tree *fstree.Tree) error {
	compressed, err := gzip.NewWriterLevel(io.NewOffsetWriter(w, 0), gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compress tarball: %w", err)
	}
	if err := tree.WriteTar(compressed); err != nil {
		return err
	}
	if err := compressed.Close(); err != nil {
		return fmt.Errorf("compress tarball: %w", err)
	}
	return nil
}
