// Debimage makes an image layer of Debian packages, for tests that need a real
// distribution. It unpacks them into one tree whose /bin, /sbin, /lib and /lib64
// are those below /usr, and gives it Debian's first users and groups.
//
// It is no package manager: nothing is resolved, and no maintainer script runs.
package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/internal/fstree"
	"github.com/kindling-vm/kindling/tools/internal/deb"
	"github.com/kindling-vm/kindling/tools/internal/layerfile"
	"github.com/kindling-vm/kindling/tools/internal/paramfile"
)

// merged are the folders that are links to those of the same name in /usr
// (Debian's "usrmerge"). Packages still have files in them.
var merged = []string{"bin", "lib", "lib64", "sbin"}

// masters are what base-passwd's maintainer script makes users and groups of.
var masters = map[string]string{
	"etc/group":  "usr/share/base-passwd/group.master",
	"etc/passwd": "usr/share/base-passwd/passwd.master",
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "debimage: %v\n", err)
		os.Exit(1)
	}
}

// pkg is a package's file.
type pkg struct{ name, sha256, refetch string }

// options are the command line.
type options struct {
	packages []*pkg
	exclude  []string
	links    map[string]string
	out      string
}

func run(args []string, stderr io.Writer) error {
	o := options{links: map[string]string{}}
	args, err := paramfile.Expand(args)
	if err != nil {
		return err
	}
	last := func(set func(*pkg)) error {
		if len(o.packages) == 0 {
			return errors.New("a --package must stand before it")
		}
		set(o.packages[len(o.packages)-1])
		return nil
	}
	flags := flag.NewFlagSet("debimage", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("package", "Debian package `FILE`", func(name string) error {
		o.packages = append(o.packages, &pkg{name: name})
		return nil
	})
	flags.Func("sha256", "the package's digest in `HEX`", func(digest string) error {
		return last(func(p *pkg) { p.sha256 = digest })
	})
	flags.Func("refetch", "`COMMAND` that fetches the package again, for the message about a changed one", func(command string) error {
		return last(func(p *pkg) { p.refetch = command })
	})
	flags.Func("exclude", "leave out the `FOLDER` and all below it", func(name string) error {
		o.exclude = append(o.exclude, path.Join("/", name))
		return nil
	})
	flags.Func("link", "add a symbolic link, `NAME=TARGET`", func(value string) error {
		name, target, ok := strings.Cut(value, "=")
		if !ok || name == "" || target == "" {
			return fmt.Errorf("got %q, want NAME=TARGET", value)
		}
		o.links[name] = target
		return nil
	})
	flags.StringVar(&o.out, "out", "", "write the layer, a gzip-compressed tar, to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case len(o.packages) == 0:
		return errors.New("flag --package is missing")
	case o.out == "":
		return errors.New("flag --out is missing")
	}
	if err := makeLayer(o); err != nil {
		return fmt.Errorf("make layer %s: %w", o.out, err)
	}
	return nil
}

func makeLayer(o options) (err error) {
	tree, err := fstree.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	epoch := time.Unix(0, 0)
	for _, name := range merged {
		if err := tree.PlaceDir(path.Join("usr", name), fstree.Meta{Mode: 0o755, ModTime: epoch}); err != nil {
			return err
		}
		if err := tree.PlaceSymlink(name, "usr/"+name, fstree.Meta{Mode: 0o777, ModTime: epoch}); err != nil {
			return err
		}
	}
	for _, p := range o.packages {
		if err := addPackage(tree, p, o.exclude); err != nil {
			return deb.Advise(err, p.refetch)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(masters)) {
		if err := copyFile(tree, masters[name], name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.links)) {
		if err := tree.PlaceSymlink(name, o.links[name], fstree.Meta{Mode: 0o777, ModTime: epoch}); err != nil {
			return err
		}
	}
	return layerfile.Write(o.out, tree, gzip.BestSpeed)
}

// addPackage puts a package's files on top of the tree.
func addPackage(tree *fstree.Tree, p *pkg, exclude []string) error {
	reader, writer := io.Pipe()
	go func() {
		archive := tar.NewWriter(writer)
		err := deb.Read(p.name, p.sha256, func(header *tar.Header, body io.Reader) error {
			name := path.Join("/", header.Name)
			if slices.Contains(merged, name[1:]) || slices.ContainsFunc(exclude, func(folder string) bool {
				return name == folder || strings.HasPrefix(name, folder+"/")
			}) {
				return nil
			}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			_, err := io.Copy(archive, body)
			return err
		})
		writer.CloseWithError(errors.Join(err, archive.Close()))
	}()
	if err := tree.AddTar(reader); err != nil {
		reader.CloseWithError(err)
		return fmt.Errorf("add package %s: %w", p.name, err)
	}
	return nil
}

func copyFile(tree *fstree.Tree, from, to string) error {
	node, err := tree.Lookup(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	content := tree.Open(node)
	return tree.PlaceFile(to, fstree.Meta{Mode: 0o644, ModTime: time.Unix(0, 0)}, content, content.Size())
}
