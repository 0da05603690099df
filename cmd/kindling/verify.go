package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

func verifyCommand() *cobra.Command {
	var flags *setFlags
	var from string
	cmd := &cobra.Command{
		Use:   "verify [flags] [ID|latest]...",
		Short: "Read all files of artifact sets and check their bytes",
		Long: `Read all files of the named sets, or of all, and check that they have the bytes
that the sets say. A corrupt file is put into quarantine, where nothing uses it;
with --source, it and what is missing is got again. It is an error if no set is
installed.

With -o json, a list of objects: id, arch, kind, path, size (in bytes) and sha256
that it must have, status (ok, repaired, missing, corrupt or failed), and problem.
Later versions may add keys, but take away and change none. Exit codes: kindling
help exit-codes.`,
		Example: `  kindling verify
  kindling verify --source ./bundle latest`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			for _, name := range args {
				if err := checkSetName(name); err != nil {
					return err
				}
			}
			return nil
		}),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			rows, wrong := verifySets(cmd.Context(), flags, from, args)
			if rows == nil {
				return wrong
			}
			return errors.Join(wrong, printReport(cmd.OutOrStdout(), flags.format, rows, func(w io.Writer) {
				for _, row := range rows {
					fmt.Fprintf(w, "%-8s  %s\n", row.Status, printable(row.Path))
				}
			}))
		}),
	}
	cmd.Flags().StringVar(&from, "source", "", "get files that are corrupt or missing from `SOURCE`, as install takes it")
	flags = addSetFlags(cmd)
	return cmd
}

// verifiedFile is what verify says about a file.
type verifiedFile struct {
	ID      string      `json:"id"`
	Arch    string      `json:"arch"`
	Kind    bundle.Kind `json:"kind"`
	Path    string      `json:"path"`
	Size    int64       `json:"size"`
	SHA256  string      `json:"sha256"`
	Status  string      `json:"status"`
	Problem string      `json:"problem,omitempty"`
}

// verifySets gives nil where it could not begin.
func verifySets(ctx context.Context, flags *setFlags, from string, names []string) ([]verifiedFile, error) {
	options := system.Options{}
	if from != "" {
		// The store checks that it gets the set that it has, which was asked for
		// signatures when it was installed.
		source, err := new(wantFlags).openSource(from)
		if err != nil {
			return nil, err
		}
		options.Sources = []system.Source{source}
	}
	store, err := flags.store(options)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		id, err := findSet(ctx, store, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	files, wrong := store.Verify(ctx, ids...)
	if len(files) == 0 && wrong == nil {
		wrong = &system.NotInstalledError{} // that nothing is wrong with no files would mislead
	}
	rows := []verifiedFile{}
	for _, file := range files {
		row := verifiedFile{
			ID: file.ID, Arch: file.Arch, Kind: file.File.Kind, Path: file.Path,
			Size: file.File.Size, SHA256: file.File.SHA256, Status: verifiedStatus(file),
		}
		if file.Err != nil {
			row.Problem = oneLine(file.Err)
		}
		rows = append(rows, row)
	}
	return rows, wrong
}

func verifiedStatus(file system.Verified) string {
	switch {
	case file.Repaired:
		return "repaired"
	case file.Err == nil:
		return "ok"
	case isError[*system.CorruptError](file.Err):
		return "corrupt"
	case isError[*system.NotInstalledError](file.Err):
		return "missing"
	default:
		return "failed"
	}
}
