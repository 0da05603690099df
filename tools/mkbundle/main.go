// Mkbundle writes the manifest of an artifact set.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/system/bundle"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "mkbundle: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("mkbundle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	manifest := &bundle.Manifest{Version: bundle.Version}
	flags.StringVar(&manifest.Arch, "arch", "", "architecture of the set")
	out := flags.String("out", "", "write the manifest to `FILE`")
	for _, kind := range []bundle.Kind{bundle.Base, bundle.Initrd, bundle.Kernel} {
		flags.Func(string(kind), "the set's "+string(kind)+" `FILE`", func(name string) error {
			file, err := bundle.Describe(os.DirFS(filepath.Dir(name)), kind, filepath.Base(name))
			manifest.Files = append(manifest.Files, file)
			return err
		})
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" {
		return fmt.Errorf("missing flag --out")
	}
	data, err := manifest.MarshalCanonical()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(*out, data, 0o644, renameio.WithTempDir(filepath.Dir(*out)), renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
