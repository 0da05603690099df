package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

func pushCommand() *cobra.Command {
	var format *string
	var keys []string
	var progress *transfers
	cmd := &cobra.Command{
		Use:   "push [flags] FOLDER REFERENCE",
		Short: "Push an artifact set from a folder to a registry",
		Long: `Verify the artifact set in a folder, as bazel build //system:bundle or kindling pull
makes it, put it into a registry and print its reference by digest and its ID. The
tag comes last, so that it never names half a set; the set also gets a tag by its
ID. SBOM, provenance and signatures go along.

REFERENCE is REPOSITORY[:TAG]. Credentials are those of docker login, crane auth
login or podman login.

With -o json, an object: reference, id. Later versions may add keys, but take away
and change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling push ./bundle registry.example/kindling/set:1.2
  kindling push --key key.pem ./bundle registry.example/kindling/set:1.2`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("got %q, want FOLDER REFERENCE", args)
			}
			return nil
		}),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(checkOutput(*format), progress.start(cmd.ErrOrStderr())); err != nil {
				return err
			}
			signers, err := signature.ReadPrivateKeys(keys)
			if err != nil {
				return err
			}
			client := &registry.Client{Progress: progress.ofRegistry}
			reference := strings.TrimPrefix(args[1], ociScheme)
			if _, err := newSource(client, reference, registry.Want{}); err != nil {
				return err
			}
			got, err := client.Push(cmd.Context(), args[0], reference, signers...)
			if err != nil {
				return ofRegistry(err)
			}
			progress.end("artifact set pushed")
			return printArtifact(cmd.OutOrStdout(), *format, got)
		}),
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "sign with the Ed25519 private key in `FILE`, PEM; can be repeated")
	progress = addProgress(cmd)
	format = addOutput(cmd)
	return cmd
}
