// Push puts the artifact set that was built with it into an OCI registry, and
// signs it.
//
// It pulls nothing: kindling and package registry do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

func main() {
	// Bazel starts programs elsewhere and says where the user stands.
	if dir := os.Getenv("BUILD_WORKING_DIRECTORY"); dir != "" {
		if err := os.Chdir(dir); err != nil {
			fmt.Fprintf(os.Stderr, "push: %v\n", err)
			os.Exit(1)
		}
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// run gives the process's exit code: 2 for a wrong command line, 1 for any other
// error.
func run(args []string, stdout, stderr io.Writer) int {
	// The second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	defer stop()
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "push: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

func command() *cobra.Command {
	var manifest string
	var keys []string
	if key := os.Getenv("KINDLING_KEY"); key != "" {
		keys = []string{key}
	}
	cmd := &cobra.Command{
		Use:   "push [flags] REPOSITORY[:TAG]",
		Short: "Push an artifact set to a registry",
		Long: `Push an artifact set to a registry.

The set's files, SBOM, provenance and signatures go to the repository; the tag, if
there is one, comes last. On stdout stand the reference by digest and the set's
ID. Credentials are those of docker login or crane auth login. Exit codes are 1
for an error, 2 for a wrong command line.`,
		Example: `  bazel run //system:push -- registry.example/kindling/set:1.2
  bazel run //system:push -- --key key.pem registry.example/kindling/set:1.2`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("got %d references, want one", len(args))}
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return push(cmd, manifest, keys, args[0])
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.Flags().StringVar(&manifest, "artifacts", os.Getenv("KINDLING_ARTIFACTS"),
		"manifest `FILE` of the set (default: the one built with push) [KINDLING_ARTIFACTS]")
	cmd.Flags().StringArrayVar(&keys, "key", keys,
		"sign with the Ed25519 private key in `FILE`, PEM; may be given more than once [KINDLING_KEY]")
	return cmd
}

func push(cmd *cobra.Command, manifest string, keys []string, ref string) error {
	signers, err := signature.ReadPrivateKeys(keys)
	if err != nil {
		return err
	}
	if manifest == "" {
		if manifest, err = runfiles.Rlocation("_main/system/bundle/manifest.json"); err != nil {
			return fmt.Errorf("find artifact set; run push by bazel or name a manifest with --artifacts: %w", err)
		}
	}
	if base := filepath.Base(manifest); base != "manifest.json" {
		return usageError{fmt.Errorf("--artifacts is a file %q, want manifest.json", base)}
	}
	client := &registry.Client{Progress: func(p registry.Progress) {
		if p.Done == p.Total {
			fmt.Fprintf(cmd.ErrOrStderr(), "push: %s, %d bytes\n", p.File, p.Total)
		}
	}}
	artifact, err := client.Push(cmd.Context(), filepath.Dir(manifest), ref, signers...)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", artifact.Reference, artifact.SetID)
	return err
}
