// Mkbundle writes the manifest of an artifact set, whose files are in place
// already: below the manifest's folder, where each stands in the set.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/system/bundle"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "mkbundle: %v\n", err)
		os.Exit(1)
	}
}

// file is a file of the host and what it is.
type file struct {
	kind bundle.Kind
	name string
}

// architecture is what the flags behind an --arch say.
type architecture struct {
	name, commandLine string
	files             []file
}

func run(args []string, stdout, stderr io.Writer) error {
	var arches []*architecture
	// last is the architecture that a flag belongs to.
	last := func(set func(*architecture)) error {
		if len(arches) == 0 {
			return errors.New("an --arch must stand before it")
		}
		set(arches[len(arches)-1])
		return nil
	}
	flags := flag.NewFlagSet("mkbundle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("arch", "begin what belongs to `ARCH`", func(name string) error {
		arches = append(arches, &architecture{name: name})
		return nil
	})
	flags.Func("command-line", "the kernel's command `LINE`", func(line string) error {
		return last(func(a *architecture) { a.commandLine = line })
	})
	flags.Func("file", "file of the set, as `KIND=FILE`", func(s string) error {
		kind, name, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want KIND=FILE")
		}
		return last(func(a *architecture) { a.files = append(a.files, file{bundle.Kind(kind), name}) })
	})
	out := flags.String("out", "", "write the manifest to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *out == "":
		return errors.New("missing flag --out")
	}
	manifest, err := describe(filepath.Dir(*out), arches)
	if err != nil {
		return err
	}
	data, err := manifest.MarshalCanonical()
	if err != nil {
		return err
	}
	id, err := manifest.ID()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(*out, data, 0o644, renameio.WithTempDir(filepath.Dir(*out)), renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	// Bazel shows it when it runs the action.
	_, err = fmt.Fprintf(stdout, "artifact set %s\n", id)
	return err
}

func describe(dir string, arches []*architecture) (*bundle.Manifest, error) {
	manifest := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}
	for _, arch := range arches {
		described := bundle.Architecture{Arch: arch.name, CommandLine: arch.commandLine}
		for _, file := range arch.files {
			name, err := filepath.Rel(dir, file.name)
			if err != nil {
				return nil, fmt.Errorf("place %s: %w", file.kind, err)
			}
			entry, err := bundle.Describe(os.DirFS(dir), file.kind, filepath.ToSlash(name))
			if err != nil {
				return nil, err
			}
			described.Files = append(described.Files, entry)
		}
		manifest.Architectures = append(manifest.Architectures, described)
	}
	return manifest, nil
}
