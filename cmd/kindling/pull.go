package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/registry"
)

func pullCommand() *cobra.Command {
	var format *string
	var want *wantFlags
	var progress *transfers
	cmd := &cobra.Command{
		Use:   "pull [flags] REFERENCE FOLDER",
		Short: "Pull an artifact set from a registry into a folder",
		Long: `Pull an artifact set from a registry into a folder, which kindling install takes
as it takes the one that bazel build //system:bundle makes, and print its reference
by digest and its ID. What is there already is verified and kept, and what broke
off goes on. The folder is complete when it has a manifest.json.

REFERENCE is REPOSITORY[:TAG], with @sha256:HEX, --set or --key, as anybody may move
a tag. Credentials are those of docker login, crane auth login or podman login.

With -o json, an object: reference, id. Later versions may add keys, but take away
and change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling pull --key keys.pem registry.example/kindling/set:1.2 ./set
  kindling pull --set "$ID" registry.example/kindling/set ./set`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("got %q, want REFERENCE FOLDER", args)
			}
			return nil
		}),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(checkOutput(*format), want.check(), progress.start(cmd.ErrOrStderr())); err != nil {
				return err
			}
			policy, err := want.policy()
			if err != nil {
				return err
			}
			client := &registry.Client{Mirrors: want.mirrors, Progress: progress.ofRegistry}
			reference := strings.TrimPrefix(args[0], ociScheme)
			if _, err := newSource(client, reference, registry.Want{}); err != nil {
				return err
			}
			got, err := client.Pull(cmd.Context(), reference, args[1],
				registry.Want{SetID: want.set, Policy: policy, Arches: want.arches})
			if err != nil {
				return ofRegistry(err)
			}
			progress.end("artifact set pulled into %s", args[1])
			return printArtifact(cmd.OutOrStdout(), *format, got)
		}),
	}
	want = addWantFlags(cmd, "all of the set")
	progress = addProgress(cmd)
	format = addOutput(cmd)
	return cmd
}

// ofRegistry is what package registry calls.
func (t *transfers) ofRegistry(p registry.Progress) { t.report(p.File, p.Done, p.Total) }

// printArtifact prints what is where in a registry, as //system:push does.
func printArtifact(w io.Writer, format string, artifact *registry.Artifact) error {
	report := struct {
		Reference string `json:"reference"`
		ID        string `json:"id"`
	}{artifact.Reference, artifact.SetID}
	return printReport(w, format, report, func(w io.Writer) { fmt.Fprintln(w, report.Reference, report.ID) })
}
