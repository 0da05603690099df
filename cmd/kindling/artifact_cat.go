package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/internal/kernelimage"
)

func artifactCatCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cat [flags] FILE PATH",
		Short: "Print a file of an initrd, or a kernel's configuration",
		Long: `Print a file of an initrd as the guest will see it: of entries with the same
path, the last one, through symbolic links and hard links.

Of a kernel, the only PATH is config: the configuration, if the kernel was built
with CONFIG_IKCONFIG.`,
		Example: `  kindling artifact cat initrd etc/modules
  kindling artifact cat vmlinux config`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withArtifact(args[0], func(a *artifact) error {
				switch a.kind {
				case kindInitrd:
					return a.fail(catInitrd(cmd.OutOrStdout(), a, args[1]))
				case kindKernel:
					if args[1] != "config" {
						return usageError{fmt.Errorf("got %q, and of a kernel only config can be printed", args[1])}
					}
					return a.fail(catConfig(cmd.OutOrStdout(), a))
				default:
					return usageError{fmt.Errorf("%s is an artifact set: name one of its files", a.path)}
				}
			})
		},
	}
	addEnvironment(cmd)
	return cmd
}

func catInitrd(w io.Writer, a *artifact, path string) error {
	tree, err := initramfs.Merge(a.file, a.size)
	if err != nil {
		return err
	}
	file, err := tree.Lookup(path)
	if err != nil {
		return err
	}
	if file.Mode&initramfs.TypeMask != initramfs.TypeRegular {
		return fmt.Errorf("print %q: it is no regular file (%s)", file.Path, modeString(file.Mode))
	}
	done := errors.New("file was printed")
	_, err = initramfs.Walk(a.file, a.size, func(entry *initramfs.Entry, body io.Reader) error {
		if entry.Number != file.Number {
			return nil
		}
		if _, err := io.Copy(w, body); err != nil {
			return fmt.Errorf("print %q: %w", file.Path, err)
		}
		return done
	})
	if errors.Is(err, done) {
		return nil
	}
	return err
}

func catConfig(w io.Writer, a *artifact) error {
	info, err := kernelimage.Inspect(a.file, a.size)
	if err != nil {
		return err
	}
	if info.Config == nil {
		return errors.New("it has no configuration embedded: it was built without CONFIG_IKCONFIG")
	}
	if _, err := w.Write(info.Config); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}
