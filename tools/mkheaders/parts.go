package main

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/deb"
)

// sourceArch is what the kernel's sources call an architecture: arch/$(SRCARCH).
var sourceArch = map[string]string{"aarch64": "arm64", "x86_64": "x86"}

// epoch is the time of every file: make(1) then finds nothing out of date.
var epoch = time.Unix(0, 0)

func addPart(tree *fstree.Tree, p *part, arch string) error {
	if strings.HasSuffix(p.name, ".deb") {
		return deb.Read(p.name, p.sha256, func(header *tar.Header, body io.Reader) error {
			name := path.Clean(header.Name)
			dest, ok := place(name, header.Typeflag, arch)
			if !ok {
				return nil
			}
			if err := add(tree, dest, header, body); err != nil {
				return fmt.Errorf("add %q: %w", name, err)
			}
			return nil
		})
	}
	return addTarball(tree, p)
}

// addTarball takes a tree that is whole already.
func addTarball(tree *fstree.Tree, p *part) (err error) {
	file, err := os.Open(p.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", digest.Sum(nil)); got != p.sha256 {
		return &deb.DigestError{Path: p.name, Got: got, Want: p.sha256}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return tree.AddBlob(file)
}

// place says where in the folder a file of Debian's packages goes, if it is of
// use there.
//
// The packages are made to lie side by side: one has what all kernels of a
// version share (linux-headers-*-common), one what is generated for this kernel,
// and one the programs (linux-kbuild-*); links and a two-line Makefile with
// absolute paths connect them.
func place(name string, kind byte, arch string) (dest string, ok bool) {
	top, rest := "", ""
	if after, found := strings.CutPrefix(name, "usr/src/linux-headers-"); found {
		top, rest, _ = strings.Cut(after, "/")
	} else if after, found := strings.CutPrefix(name, "usr/lib/linux-kbuild-"); found {
		top, rest, _ = strings.Cut(after, "/")
	}
	isCommon := strings.HasSuffix(top, "-common")
	switch {
	case rest == "":
		return "", false
	case kind == tar.TypeSymlink && (rest == "scripts" || rest == "tools"):
		return "", false // to those of linux-kbuild, which take their place here
	case isCommon && strings.HasPrefix(rest, "arch/"):
		ours := "arch/" + sourceArch[arch]
		return rest, rest == ours || strings.HasPrefix(rest, ours+"/")
	case !isCommon && rest == "Makefile":
		return "", false // includes that of -common
	case !isCommon && rest == "vmlinux":
		return "", false // has BTF alone; with it make wants pahole, which images do not have
	case rest == ".kernelvariables":
		return "", false // sets CC to Debian's gcc, which other images do not have
	}
	return rest, true
}

func add(tree *fstree.Tree, dest string, header *tar.Header, body io.Reader) error {
	meta := fstree.Meta{Mode: 0o644, ModTime: epoch}
	switch header.Typeflag {
	case tar.TypeDir:
		meta.Mode = 0o755
		return tree.EnsureDir(dest, meta)
	case tar.TypeSymlink:
		meta.Mode = 0o777
		return tree.PlaceSymlink(dest, header.Linkname, meta)
	case tar.TypeReg:
		if header.Mode&0o111 != 0 {
			meta.Mode = 0o755
		}
		return tree.PlaceFile(dest, meta, body, header.Size)
	default:
		return fmt.Errorf("it is of type %q, want a file, folder or link", header.Typeflag)
	}
}
