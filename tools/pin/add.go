package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/pin/internal/debian"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

// addOptions are the command line of add.
type addOptions struct {
	artifact       lock.Artifact
	kind           string
	suite, keyring string
}

func addCommand(t *tool) *cobra.Command {
	var options addOptions
	cmd := &cobra.Command{
		Use:   "add [flags] NAME",
		Short: "Add an artifact, from URLs or from Debian",
		Long: `Add an artifact with the digest of what comes from its URLs, or with the one that
Debian's index has for a package. The index is checked by Debian's signature
where gpgv and the package debian-archive-keyring are installed.`,
		Example: `  pin add linux-6.1.0-50-cloud --arch aarch64 --kind kernel --license GPL-2.0-only \
    --package linux-image-6.1.0-50-cloud-arm64
  pin add ch-headers-6.12.8 --arch x86_64 --kind headers --license GPL-2.0-only --version 6.12.8 \
    --url https://github.com/OWNER/REPOSITORY/releases/download/TAG/headers.tar.gz`,
		Args: oneName("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "arch", "kind", "license"); err != nil {
				return err
			}
			if (options.artifact.Package == "") == (len(options.artifact.URLs) == 0) {
				return usageError{errors.New("want either --url or --package")}
			}
			if options.artifact.Package == "" {
				if err := need(cmd, "version"); err != nil {
					return err
				}
			}
			options.artifact.Name, options.artifact.Kind = args[0], lock.Kind(options.kind)
			return t.add(cmd.Context(), options)
		},
	}
	flags, artifact := cmd.Flags(), &options.artifact
	flags.StringVar(&artifact.Arch, "arch", "", "`ARCH` of the artifact: x86_64, aarch64 or, of headers, all")
	flags.StringVar(&options.kind, "kind", "", "`KIND` of the artifact: base, headers, kernel or package")
	flags.StringVar(&artifact.License, "license", "", "SPDX license `EXPRESSION`")
	flags.StringVar(&artifact.Version, "version", "", "`VERSION` as its publisher writes it (default for a package: the only one)")
	flags.StringArrayVar(&artifact.URLs, "url", nil, "https `URL` of the file; mirrors of it may follow")
	flags.StringVar(&artifact.Package, "package", "", "`NAME` of a Debian package")
	flags.StringVar(&options.suite, "suite", "bookworm", "Debian `SUITE` that has the package")
	flags.StringVar(&options.keyring, "keyring", debian.Keyring, "`FILE` with the keys that sign the suite")
	flags.StringSliceVar(&artifact.Headers, "headers", nil, "`NAMES` of a kernel's headers, with commas between")
	return cmd
}

func (t *tool) add(ctx context.Context, options addOptions) (err error) {
	artifact := options.artifact
	defer func() {
		if err != nil {
			err = fmt.Errorf("add %s %s: %w", artifact.Name, artifact.Arch, err)
		}
	}()
	file, err := readLock(t.lockPath)
	if err != nil {
		return err
	}
	known := ""
	if artifact.Package != "" {
		if known, err = t.resolve(ctx, options, &artifact); err != nil {
			return err
		}
	}
	if err := file.insert(artifact); err != nil {
		return err
	}
	// What is wrong without its bytes need not be fetched.
	if _, err := file.lock.MarshalCanonical(); err != nil {
		return err
	}
	requests, err := t.requests(ctx, &artifact)
	if err != nil {
		return err
	}
	download, err := newDownload("", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, download.discard()) }()
	got, err := t.getAny(ctx, requests, download.File)
	if err != nil {
		return err
	}
	added := file.lock.Lookup(artifact.Name, artifact.Arch)
	found, err := t.examine(ctx, added, known, got, download)
	if err != nil {
		return err
	}
	added.SHA256, added.Size = got.SHA256, got.Size
	if err := file.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.stdout, "%s %s: added\n%s", artifact.Name, artifact.Arch, found)
	return err
}

// resolve finds an artifact's package in Debian's index, and says what its digest
// is worth.
func (t *tool) resolve(ctx context.Context, options addOptions, artifact *lock.Artifact) (string, error) {
	mirror, err := debian.Mirror(ctx)
	if err != nil {
		return "", err
	}
	found, warning, err := debian.Find(ctx, t.client, debian.Query{
		Mirror:  mirror,
		Suite:   options.suite,
		Arch:    artifact.Arch,
		Package: artifact.Package,
		Version: artifact.Version,
		Keyring: options.keyring,
	})
	if err != nil {
		return "", err
	}
	artifact.Version, artifact.Path, artifact.SHA256, artifact.Size = found.Version, found.Path, found.SHA256, found.Size
	if warning == "" {
		return "digest from Debian's signed index", nil
	}
	fmt.Fprintf(t.stderr, "pin: WARNING: nobody vouches for the digest: the index of %s was not checked by a signature: %s\n",
		fetch.Display(mirror), warning)
	return "digest from an index whose signature was not checked", nil
}
