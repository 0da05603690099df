// Mkinitrd makes an initrd: it puts OCI layers, programs, files and kernel
// modules into one tree, checks that the guest can run it, and writes the tree
// as an uncompressed cpio archive together with a listing of it.
//
// The archive is a function of the content of the inputs alone. Order of flags
// (other than of --layer and --module, where it has a meaning), names and times
// of the input files, user and umask do not reach it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mkinitrd: %v\n", err)
		os.Exit(1)
	}
}

// placement is a file of the host and where it goes.
type placement struct{ dest, source string }

// options are the command line.
type options struct {
	arch     string
	layers   []string
	binaries []placement
	files    []placement
	modules  string   // tar file
	names    []string // of modules
	out      string
	listing  string // "" writes none
}

func run(args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	if err := build(opts); err != nil {
		return fmt.Errorf("make initrd %s: %w", opts.out, err)
	}
	return nil
}

// parse reads the command line. An asked-for usage text is a result and goes to
// stdout.
func parse(args []string, stdout, stderr io.Writer) (*options, error) {
	args, err := expand(args)
	if err != nil {
		return nil, err
	}
	var o options
	flags := flag.NewFlagSet("mkinitrd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout)
		}
	}
	flags.StringVar(&o.arch, "arch", "", "`ARCH` of the guest, x86_64 or aarch64")
	flags.Func("layer", "OCI layer `FILE`, plain or compressed; later ones go on top", func(s string) error {
		o.layers = append(o.layers, s)
		return nil
	})
	flags.Func("binary", "static program to place with mode 0555, as `DEST=FILE`", func(s string) error {
		return addPlacement(&o.binaries, s)
	})
	flags.Func("file", "file to place with mode 0444, as `DEST=FILE`", func(s string) error {
		return addPlacement(&o.files, s)
	})
	flags.StringVar(&o.modules, "modules", "", "tar `FILE` with kernel modules, modules.dep and modules.builtin")
	flags.Func("module", "kernel module `NAME` to include with what it needs, loaded in the order given", func(s string) error {
		o.names = append(o.names, s)
		return nil
	})
	flags.StringVar(&o.out, "out", "", "write the archive to `FILE`")
	flags.StringVar(&o.listing, "listing", "", "write an mtree listing of the archive to `FILE`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.out == "":
		return nil, errors.New("flag --out is missing")
	case len(o.names) > 0 && o.modules == "":
		return nil, errors.New("flag --module needs --modules")
	}
	return &o, elfcheck.CheckArch(o.arch)
}

func addPlacement(list *[]placement, s string) error {
	dest, source, ok := strings.Cut(s, "=")
	if !ok || dest == "" || source == "" {
		return errors.New("want DEST=FILE")
	}
	*list = append(*list, placement{dest, source})
	return nil
}

// expand replaces an argument @FILE by the lines of that file, each one an
// argument as it stands, as Bazel writes them in the format "multiline".
func expand(args []string) ([]string, error) {
	var expanded []string
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "@")
		if !ok {
			expanded = append(expanded, arg)
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read param file: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			expanded = append(expanded, strings.TrimSuffix(line, "\n"))
		}
	}
	return expanded, nil
}
