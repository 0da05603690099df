// Mirror fills a folder with all that a build without any network needs: pinned
// artifacts, Go modules with the toolchain among them, and the Debian root with
// Bazel in it. KINDLING_MIRROR=DIR has tools/bazel take everything from there.
//
// It fetches nothing itself: Bazel has put its inputs beside it, checked, and
// tools/launcher made the root. It brings neither Go nor bubblewrap, and nothing
// for machines of another architecture.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

const usage = `usage: tools/bazel run //tools/mirror -- [--verify] DIR

Make the mirror DIR or bring it up to date: what is there and right stays, what
is not needed any more goes.

  --verify  change nothing; compare all files with the digests in the manifest
`

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mirror: %v\n", err)
		os.Exit(1)
	}
}

// run does what args say; getenv gives what Bazel and tools/launcher tell.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mirror", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout) // an asked-for usage text is a result
		}
	}
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	verify := flags.Bool("verify", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || flags.Arg(0) == "" {
		return fmt.Errorf("got %d folders, want 1", flags.NArg())
	}
	dir := flags.Arg(0)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(getenv("BUILD_WORKING_DIRECTORY"), dir)
	}
	if *verify {
		if err := verifyMirror(dir); err != nil {
			return fmt.Errorf("verify mirror %s: %w", dir, err)
		}
		return report(dir, stdout)
	}
	in, err := findInputs(getenv)
	if err != nil {
		return fmt.Errorf("find what is to go into the mirror: %w", err)
	}
	sources, err := in.sources(stderr)
	if err != nil {
		return fmt.Errorf("find what is to go into the mirror: %w", err)
	}
	if err := update(dir, sources, stderr); err != nil {
		return fmt.Errorf("make mirror %s: %w", dir, err)
	}
	return report(dir, stdout)
}

func verifyMirror(dir string) error {
	manifest, _, err := mirror.Read(dir)
	if err != nil {
		return err
	}
	errs := []error{manifest.Verify(dir, ".")}
	unlisted, err := unlistedFiles(dir, manifest)
	if err != nil {
		return err
	}
	for _, name := range unlisted {
		errs = append(errs, fmt.Errorf("file %s is not in the manifest", name))
	}
	return errors.Join(errs...)
}

// report prints what there is. The digest of the manifest stands for all of it.
func report(dir string, stdout io.Writer) error {
	manifest, digest, err := mirror.Read(dir)
	if err != nil {
		return err
	}
	var size int64
	for _, file := range manifest.Files {
		size += file.Size
	}
	_, err = fmt.Fprintf(stdout, "%s: %d files, %d MB, manifest's SHA-256 %s\n", dir, len(manifest.Files), size/1e6, digest)
	return err
}

// unlistedFiles are the files of a mirror that are not in its manifest.
func unlistedFiles(dir string, manifest *mirror.Manifest) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, listed := manifest.Lookup(filepath.ToSlash(name)); !listed && name != mirror.ManifestName {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}
