// Mksbom writes what an artifact set is made of: a CycloneDX SBOM and an in-toto
// statement of SLSA provenance, both for the set of one architecture.
//
// It tells what the build's own inputs say: the lock, the listings of the
// initrd's segments, and the build information of our programs. It does not look
// into packages for what their makers put there, it signs nothing, and it asks
// no network and no clock: the documents are a function of the inputs' content.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/tools/internal/paramfile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mksbom: %v\n", err)
		os.Exit(1)
	}
}

// pair is the value of a flag KEY=VALUE.
type pair struct{ key, value string }

// owner says that the entries of a segment at or below a path come from a
// component.
type owner struct{ segment, prefix, component string }

// options are the command line.
type options struct {
	name, version, arch, profile string

	lock      string
	artifacts []pair // kind -> name in the lock
	image     string
	layers    []string
	files     []pair // kind -> file
	segments  []pair // name -> listing
	owners    []owner
	binaries  []pair // path in the initrd -> file
	infos     []pair // path in the initrd -> build information
	goSum     string

	sbom, provenance string
}

func run(args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	c, err := gather(opts)
	if err != nil {
		return fmt.Errorf("describe set %s: %w", opts.name, err)
	}
	sbom, err := marshalSBOM(c)
	if err != nil {
		return err
	}
	statement, err := marshalStatement(c, filepath.Base(opts.sbom), sbom)
	if err != nil {
		return err
	}
	if err := write(opts.sbom, sbom); err != nil {
		return err
	}
	return write(opts.provenance, statement)
}

func write(name string, data []byte) error {
	opts := []renameio.Option{renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(0o644)}
	if err := renameio.WriteFile(name, data, 0o644, opts...); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// parse reads the command line. An asked-for usage text is a result and goes to
// stdout.
func parse(args []string, stdout, stderr io.Writer) (*options, error) {
	args, err := paramfile.Expand(args)
	if err != nil {
		return nil, err
	}
	var o options
	flags := flag.NewFlagSet("mksbom", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout)
		}
	}
	pairs := func(list *[]pair, name, form, usage string) {
		flags.Func(name, usage+", as `"+form+"`", func(s string) error {
			key, value, ok := strings.Cut(s, "=")
			if !ok || key == "" || value == "" {
				return errors.New("want " + form)
			}
			*list = append(*list, pair{key, value})
			return nil
		})
	}
	flags.StringVar(&o.name, "name", "", "`NAME` of the set")
	flags.StringVar(&o.version, "version", "", "`VERSION` of the set and of the programs built with it; none by default")
	flags.StringVar(&o.arch, "arch", "", "`ARCH` of the set, x86_64 or aarch64")
	flags.StringVar(&o.profile, "profile", "", "`PROFILE` of the lock that the set is built from; none by default")
	flags.StringVar(&o.lock, "lock", "", "artifacts.lock.json `FILE`")
	pairs(&o.artifacts, "artifact", "KIND=NAME", "base, headers or kernel artifact of the lock that went in")
	flags.StringVar(&o.image, "image", "", "OCI `IMAGE` that is the base, as REPOSITORY@sha256:DIGEST of its manifest")
	flags.Func("layer", "`DIGEST` of a layer of --image, as sha256:HEX, in their order", func(s string) error {
		o.layers = append(o.layers, s)
		return nil
	})
	pairs(&o.files, "file", "KIND=FILE", "base, headers, initrd, kernel or kernel-info file of the set")
	pairs(&o.segments, "segment", "SEGMENT=FILE", "mtree listing of a segment of the initrd")
	flags.Func("owner", "where entries of a segment at or below a path come from, as `SEGMENT:PATH=COMPONENT`; "+
		"a component is the name of an --artifact, image, or source for this repository",
		func(s string) error { return addOwner(&o.owners, s) })
	pairs(&o.binaries, "binary", "DEST=FILE", "Go program of ours, by its path in the initrd")
	pairs(&o.infos, "buildinfo", "DEST=FILE", "build information of a --binary that has none")
	flags.StringVar(&o.goSum, "go-sum", "", "go.sum `FILE` with the sums of modules whose build information has none")
	flags.StringVar(&o.sbom, "sbom", "", "write the SBOM to `FILE`")
	flags.StringVar(&o.provenance, "provenance", "", "write the statement to `FILE`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range []string{"name", "arch", "lock", "sbom", "provenance"} {
		if flags.Lookup(name).Value.String() == "" {
			return nil, fmt.Errorf("flag --%s is missing", name)
		}
	}
	if o.image == "" && len(o.layers) > 0 {
		return nil, errors.New("flag --layer needs --image")
	}
	return &o, nil
}

func addOwner(list *[]owner, s string) error {
	place, component, ok := strings.Cut(s, "=")
	segment, prefix, found := strings.Cut(place, ":")
	if !ok || !found || segment == "" || component == "" || !path.IsAbs(prefix) || path.Clean(prefix) != prefix {
		return errors.New("want SEGMENT:PATH=COMPONENT, the path absolute and clean")
	}
	*list = append(*list, owner{segment, strings.TrimPrefix(prefix, "/"), component})
	return nil
}
