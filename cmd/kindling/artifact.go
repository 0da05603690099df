package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system/bundle"
)

func artifactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "artifact",
		Short: "Look into kernels, initrds and artifact sets",
		Long: `Look into kernels, initrds and artifact sets.

An initrd is read as the kernel reads it: segments one after the other, each an
archive (cpio, format newc) or one that gzip or zstd compressed. A kernel is an
ELF file, a bzImage or an arm64 Image, also in gzip or as an EFI program. A set
is a folder with a manifest.json, or that file.

With -o json, the output is one JSON document. Its sizes are in bytes, its modes
octal numbers in strings, its digests SHA-256 in hexadecimal digits. Later
versions may add keys, but take away and change none.`,
		Example: `  kindling artifact ls initrd
  kindling artifact cat initrd etc/modules
  kindling artifact diff before/manifest.json after/manifest.json`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(artifactLsCommand(), artifactCatCommand(), artifactSizeCommand(), artifactDiffCommand())
	return cmd
}

// addOutput gives a command the flag for the form of what it prints.
func addOutput(cmd *cobra.Command) (format *string) {
	format = cmd.Flags().StringP("output", "o", "table", "print a `FORMAT`: table or json")
	addEnvironment(cmd)
	return format
}

// printReport prints a report in the format that the user wants.
func printReport(w io.Writer, format string, report any, table func(w io.Writer)) error {
	buffer := bufio.NewWriter(w)
	switch format {
	case "table":
		table(buffer)
	case "json":
		encoder := json.NewEncoder(buffer)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return fmt.Errorf("print report: %w", err)
		}
	default:
		return usageError{fmt.Errorf("--output is %q, want table or json", format)}
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// artifactKind is what a file turned out to be.
type artifactKind string

const (
	kindInitrd artifactKind = "initrd"
	kindKernel artifactKind = "kernel"
	kindSet    artifactKind = "set"
)

// artifact is an initrd or a kernel in a file, or an artifact set.
type artifact struct {
	path string // as the user gave it
	kind artifactKind

	file *os.File // of an initrd or kernel
	size int64    // its size, in bytes

	manifest *bundle.Manifest // of a set
	dir      string           // the folder that its files' names start from
}

// withArtifact opens a file or set for use.
func withArtifact(path string, use func(*artifact) error) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	name := path
	if info.IsDir() {
		name = filepath.Join(path, "manifest.json")
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err = file.Stat(); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open %s: it is no regular file", name)
	}
	a := &artifact{path: path, kind: kindInitrd, file: file, size: info.Size()}
	first := make([]byte, 1)
	switch _, err := file.ReadAt(first, 0); {
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("open %s: %w", name, err)
	case first[0] == '{':
		a.kind, a.dir = kindSet, filepath.Dir(name)
		if a.manifest, err = readManifest(file, a.size); err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
	case kernelimage.Recognize(file, a.size):
		a.kind = kindKernel
	}
	return use(a)
}

// fail says of which file an error is.
func (a *artifact) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s %s: %w", a.kind, a.path, err)
}

// maxManifest bounds a manifest, in bytes.
const maxManifest = 1 << 20

func readManifest(r io.ReaderAt, size int64) (*bundle.Manifest, error) {
	if size > maxManifest {
		return nil, fmt.Errorf("manifest has %d bytes, want at most %d", size, maxManifest)
	}
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return bundle.Parse(data)
}

// withFile opens a file of the set for use, as what its kind says. Its bytes must
// be those of the manifest.
func (a *artifact) withFile(file bundle.File, use func(*artifact) error) (err error) {
	got, err := bundle.Describe(os.DirFS(a.dir), file.Kind, file.Name)
	if err != nil {
		return err
	}
	if got != file {
		return &bundle.MismatchError{Want: file, Got: got}
	}
	name := filepath.Join(a.dir, filepath.FromSlash(file.Name))
	opened, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return use(&artifact{path: name, kind: artifactKind(file.Kind), file: opened, size: file.Size})
}
