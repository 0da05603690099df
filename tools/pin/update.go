package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

// updateOptions are the command line of update.
type updateOptions struct{ name, arch, from, save string }

func updateCommand(t *tool) *cobra.Command {
	var options updateOptions
	cmd := &cobra.Command{
		Use:   "update [flags] NAME",
		Short: "Fetch an artifact and write down its digest and size",
		Long: `Fetch an artifact, look whether it is what its entry says, and write down its
digest and size. A Debian package never changes: another one is an error.

--from takes the bytes from another address, while the lock keeps its own URLs.
Bazel then finds them in a folder: --save FOLDER, and --distdir=FOLDER for Bazel.`,
		Example: `  pin update ch-6.12.8-kernel-1.4-202602101 --arch x86_64
  pin update ch-6.12.8-kernel-1.4-202602101 --arch x86_64 \
    --from http://127.0.0.1:8000/vmlinux --allow-http-loopback --save ~/distdir`,
		Args: oneName("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "arch"); err != nil {
				return err
			}
			options.name = args[0]
			return t.update(cmd.Context(), options)
		},
	}
	cmd.Flags().StringVar(&options.arch, "arch", "", "`ARCH` of the artifact: x86_64, aarch64 or all")
	cmd.Flags().StringVar(&options.from, "from", "", "fetch from this `URL`")
	cmd.Flags().StringVar(&options.save, "save", "", "keep the file in this `FOLDER`, under the name that Bazel looks for")
	return cmd
}

func (t *tool) update(ctx context.Context, options updateOptions) (err error) {
	file, err := readLock(t.lockPath)
	if err != nil {
		return err
	}
	artifact, err := file.find(options.name, options.arch)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("update %s %s: %w", options.name, options.arch, err)
		}
	}()
	requests := []fetch.Request{{URL: options.from, MaxSize: maxArtifact}}
	if options.from == "" {
		if requests, err = t.requests(ctx, artifact); err != nil {
			return err
		}
	}
	download, err := newDownload(options.save, artifact.FileName())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, download.discard()) }()
	got, err := t.getAny(ctx, requests, download.File)
	if err != nil {
		return err
	}
	found, err := t.examine(ctx, artifact, "digest of the lock", got, download)
	if err != nil {
		return err
	}
	report := fmt.Sprintf("%s %s: %s\n%s", artifact.Name, artifact.Arch, change(artifact, got), found)
	artifact.SHA256, artifact.Size = got.SHA256, got.Size
	if options.save != "" {
		path, err := filepath.Abs(filepath.Join(options.save, artifact.FileName()))
		if err != nil {
			return fmt.Errorf("find folder: %w", err)
		}
		if err := download.keep(path, got); err != nil {
			return err
		}
		report += fmt.Sprintf("  saved %s, which Bazel takes with --distdir=%s\n", path, filepath.Dir(path))
	} else if options.from != "" {
		report += fmt.Sprintf("  Bazel takes it from a folder that has it as %s, with --distdir=FOLDER: --save FOLDER puts it there\n",
			artifact.FileName())
	}
	if err := file.write(); err != nil {
		return err
	}
	_, err = io.WriteString(t.stdout, report)
	return err
}

// change says what new bytes are to an entry.
func change(artifact *lock.Artifact, got fetch.Result) string {
	switch {
	case !artifact.Pinned():
		return "pinned"
	case artifact.SHA256 == got.SHA256 && artifact.Size == got.Size:
		return "unchanged"
	case artifact.SHA256 == got.SHA256:
		return "its size is known now"
	default:
		return fmt.Sprintf("changed, was SHA-256 %s (%d bytes)", artifact.SHA256, artifact.Size)
	}
}
