// Mkinitrd makes initrds of segments. Each segment is a cpio archive, plain or
// compressed, of OCI layers, programs, files or kernel modules; the kernel
// unpacks their concatenation, one on top of the other. A segment is made for
// those below it, by their listings: it brings only what they do not have, and
// nothing that is there already.
//
// Outputs are a function of the content of the inputs alone. Order of flags
// (other than of --layer, --lower, --module and --segment, where it has a
// meaning), names and times of the input files, user, umask and number of
// processors do not reach them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck"
	"github.com/kindling-vm/kindling/tools/internal/paramfile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mkinitrd: %v\n", err)
		os.Exit(1)
	}
}

// verbs are what the tool does, by its first argument.
var verbs = map[string]func(args []string, stdout, stderr io.Writer) error{
	"join":    runJoin,
	"segment": runSegment,
}

func run(args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || verbs[args[0]] == nil {
		return errors.New("want segment or join as first argument")
	}
	rest, err := paramfile.Expand(args[1:])
	if err != nil {
		return err
	}
	return verbs[args[0]](rest, stdout, stderr)
}

// newFlags gives an empty set of flags. An asked-for usage text is a result and
// goes to stdout.
func newFlags(verb string, args []string, stdout, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("mkinitrd "+verb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout)
		}
	}
	return flags
}

// placement is a file of the host and where it goes.
type placement struct{ dest, source string }

// segmentOptions are the command line of segment.
type segmentOptions struct {
	arch        string
	lower       []string // listings of the segments below
	layers      []string
	binaries    []placement
	files       []placement
	modules     string   // tar file
	names       []string // of modules that init loads
	optional    []string // of modules that are there
	compression string
	out         string
	listing     string
}

func runSegment(args []string, stdout, stderr io.Writer) error {
	var o segmentOptions
	flags := newFlags("segment", args, stdout, stderr)
	flags.StringVar(&o.arch, "arch", "", "`ARCH` of the guest, x86_64 or aarch64")
	flags.Func("lower", "listing `FILE` of a segment below this one, the lowest first", appendTo(&o.lower))
	flags.Func("layer", "OCI layer `FILE`, plain or compressed; later ones go on top", appendTo(&o.layers))
	flags.Func("binary", "static program to place with mode 0555, as `DEST=FILE`", func(s string) error {
		return addPlacement(&o.binaries, s)
	})
	flags.Func("file", "file to place with mode 0444, as `DEST=FILE`", func(s string) error {
		return addPlacement(&o.files, s)
	})
	flags.StringVar(&o.modules, "modules", "", "tar `FILE` with kernel modules, modules.dep and modules.builtin, plain or compressed")
	flags.Func("module", "kernel module `NAME` to include with what it needs, loaded in the order given", appendTo(&o.names))
	flags.Func("optional-module", "kernel module `NAME` to include with what it needs", appendTo(&o.optional))
	flags.StringVar(&o.compression, "compression", "none", "`HOW` to compress the segment: none, zstd or, for what changes often, zstd-fast")
	flags.StringVar(&o.out, "out", "", "write the segment to `FILE`")
	flags.StringVar(&o.listing, "listing", "", "write an mtree listing of the segment to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.out == "":
		return errors.New("flag --out is missing")
	case o.listing == "":
		return errors.New("flag --listing is missing")
	case len(o.names)+len(o.optional) > 0 && o.modules == "":
		return errors.New("a module needs the flag --modules")
	case len(o.lower) > 0 && len(o.layers) > 0:
		return errors.New("a segment with --layer must be the lowest: cpio archives cannot remove files")
	case o.compression != "none" && levels[o.compression] == 0:
		return fmt.Errorf("compression %q is not none, zstd or zstd-fast", o.compression)
	}
	if err := elfcheck.CheckArch(o.arch); err != nil {
		return err
	}
	if err := makeSegment(&o); err != nil {
		return fmt.Errorf("make segment %s: %w", o.out, err)
	}
	return nil
}

// joinOptions are the command line of join.
type joinOptions struct {
	segments     []placement // listing and archive
	out, listing string
}

func runJoin(args []string, stdout, stderr io.Writer) error {
	var o joinOptions
	flags := newFlags("join", args, stdout, stderr)
	flags.Func("segment", "segment with its listing as `LISTING=FILE`, the lowest first", func(s string) error {
		return addPlacement(&o.segments, s)
	})
	flags.StringVar(&o.out, "out", "", "write the initrd to `FILE`")
	flags.StringVar(&o.listing, "listing", "", "write an mtree listing of the initrd to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.out == "":
		return errors.New("flag --out is missing")
	case o.listing == "":
		return errors.New("flag --listing is missing")
	case len(o.segments) == 0:
		return errors.New("flag --segment is missing")
	}
	if err := join(&o); err != nil {
		return fmt.Errorf("make initrd %s: %w", o.out, err)
	}
	return nil
}

func appendTo(list *[]string) func(string) error {
	return func(s string) error {
		*list = append(*list, s)
		return nil
	}
}

func addPlacement(list *[]placement, s string) error {
	dest, source, ok := strings.Cut(s, "=")
	if !ok || dest == "" || source == "" {
		return errors.New("want two names with = between them")
	}
	*list = append(*list, placement{dest, source})
	return nil
}
