package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
)

func lsCommand() *cobra.Command {
	var flags *setFlags
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "List the installed artifact sets",
		Long: `List the installed artifact sets: ID, architectures with their kernels, size of
all files, also of those that other sets have too, and which set is the latest.
Files that changed since they were read last are read again; what is wrong with
one, or missing of what was installed, is told, and is the exit code.

With -o json, a list of objects: id, latest, size (in bytes), installed (or asked
for last, RFC 3339), and kernels, a list of arch and kernelVersion of each
architecture that is complete. Later versions may add keys, but take away and
change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling ls
  kindling ls -o json`,
		Args: usage(cobra.NoArgs),
		RunE: setVerb(func(cmd *cobra.Command, _ []string) error {
			store, err := flags.store(system.Options{})
			if err != nil {
				return err
			}
			rows, wrong := listSets(cmd.Context(), store)
			if rows == nil {
				return wrong
			}
			return errors.Join(wrong, printReport(cmd.OutOrStdout(), flags.format, rows, func(w io.Writer) { printSets(w, rows) }))
		}),
	}
	flags = addSetFlags(cmd)
	return cmd
}

// setRow is what ls says about a set.
type setRow struct {
	ID        string      `json:"id"`
	Latest    bool        `json:"latest"`
	Size      int64       `json:"size"`
	Installed time.Time   `json:"installed"`
	Kernels   []kernelRow `json:"kernels"`
}

type kernelRow struct {
	Arch          string               `json:"arch"`
	KernelVersion system.KernelVersion `json:"kernelVersion"`
}

// listSets gives all sets that can be listed, and what is wrong with their files.
func listSets(ctx context.Context, store *system.Store) ([]setRow, error) {
	sets, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	rows := []setRow{}
	var wrong []error
	for _, set := range sets {
		row := setRow{ID: set.ID, Latest: set.Latest, Size: set.Size, Installed: set.Installed.UTC(), Kernels: []kernelRow{}}
		arches := slices.Concat(set.Arches, set.Asked)
		slices.Sort(arches)
		for _, arch := range slices.Compact(arches) {
			resolved, err := store.Resolve(ctx, set.ID, arch)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			row.Kernels = append(row.Kernels, kernelRow{arch, resolved.KernelVersion})
		}
		rows = append(rows, row)
	}
	return rows, errors.Join(wrong...)
}

func printSets(w io.Writer, rows []setRow) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tARCH\tKERNEL\tSIZE\tLATEST")
	for _, row := range rows {
		arches, versions := []string{}, []string{}
		for _, kernel := range row.Kernels {
			arches = append(arches, kernel.Arch)
			versions = append(versions, printable(string(kernel.KernelVersion)))
		}
		latest := "no"
		if row.Latest {
			latest = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", row.ID, orDash(arches), orDash(slices.Compact(versions)), row.Size, latest)
	}
	// The writer behind keeps its errors until it is flushed.
	_ = table.Flush()
}

// orDash is a list in a table.
func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}
