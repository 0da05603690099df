// Mkbase makes the base layer of an initrd: of Debian's busybox-static package,
// with a symbolic link for each command of busybox and the folders and files that
// programs expect of a root file system, or of all layers of an OCI image.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/deb"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
	"github.com/kindling-vm/kindling/tools/internal/layerfile"
)

// maxBusybox bounds the program, in bytes. Debian's has 2 MB.
const maxBusybox = 32 << 20

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mkbase: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("mkbase", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout) // asked for, so it is a result
		}
	}
	pkg := flags.String("deb", "", "Debian package busybox-static in `FILE`")
	sha256 := flags.String("sha256", "", "the package's SHA-256 in `HEX`")
	image := flags.String("image", "", "OCI image layout `FOLDER`, OCI archive or archive of docker save, in place of a package")
	digest := flags.String("digest", "", "`DIGEST` of the image's manifest, or of an index that leads to it; none takes what is there")
	name := flags.String("name", "", "`NAME` of the image, for --origin")
	origin := flags.String("origin", "", "write which image and layers it was to `FILE`, as arguments of mksbom")
	arch := flags.String("arch", "", "`ARCH` that it must be for, x86_64 or aarch64")
	refetch := flags.String("refetch", "", "`COMMAND` that fetches the package again, for the message about a changed one")
	out := flags.String("out", "", "write the layer, a gzip-compressed tar, to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	needed := []string{"deb", "sha256", "arch", "out"}
	if *image != "" {
		needed = []string{"image", "name", "origin", "arch", "out"}
	}
	for _, name := range needed {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("flag --%s is missing", name)
		}
	}
	if *image != "" && *pkg != "" {
		return errors.New("flags --deb and --image exclude each other")
	}
	if err := elfcheck.CheckArch(*arch); err != nil {
		return err
	}
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if *image == "" {
		if err := addBusybox(tree, *pkg, *sha256, *arch, *refetch); err != nil {
			return err
		}
	} else {
		text, err := addImage(tree, *image, *arch, *digest, *name)
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(*origin, []byte(text), 0o644, renameio.WithTempDir(filepath.Dir(*origin)), renameio.WithStaticPermissions(0o644)); err != nil {
			return fmt.Errorf("write origin: %w", err)
		}
	}
	if err := layerfile.Write(*out, tree, gzip.BestCompression); err != nil {
		return fmt.Errorf("make layer %s: %w", *out, err)
	}
	return nil
}

func addBusybox(tree *fstree.Tree, pkg, sha256, arch, refetch string) error {
	busybox, err := readBusybox(pkg, sha256)
	if err != nil {
		return deb.Advise(err, refetch)
	}
	if err := elfcheck.CheckStatic(bytes.NewReader(busybox), arch); err != nil {
		return fmt.Errorf("check busybox of %s: %w", pkg, err)
	}
	names, err := applets(busybox)
	if err != nil {
		return fmt.Errorf("find applets of busybox of %s: %w", pkg, err)
	}
	return addFiles(tree, busybox, names)
}

// readBusybox takes the program from the package. Debian moved it from /bin to
// /usr/bin when it merged the two.
func readBusybox(pkg, sha256 string) ([]byte, error) {
	var busybox []byte
	err := deb.Read(pkg, sha256, func(header *tar.Header, body io.Reader) (err error) {
		name := path.Join("/", header.Name)
		if name != "/bin/busybox" && name != "/usr/bin/busybox" || header.Typeflag != tar.TypeReg {
			return nil
		}
		if busybox != nil {
			return errors.New("package has both /bin/busybox and /usr/bin/busybox")
		}
		if header.Size > maxBusybox {
			return fmt.Errorf("%s has %d bytes, more than %d", name, header.Size, maxBusybox)
		}
		busybox, err = io.ReadAll(body)
		return err
	})
	if err == nil && busybox == nil {
		return nil, fmt.Errorf("read package %s: there is no /bin/busybox", pkg)
	}
	return busybox, err
}
