package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
)

func gcCommand() *cobra.Command {
	var flags *setFlags
	var roots []string
	var grace time.Duration
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc [flags]",
		Short: "Remove artifact sets that nobody needs",
		Long: `Remove artifact sets that nobody needs, then files of no set, and say of each set
and file why. A set is kept that is named as a root, leased, held by a process or
the latest one, or that was installed or asked for less than the grace time ago.
Name as roots the IDs that instances and snapshots were made with.

With -o json, a list of objects: id or path, remove, reason, bytes (that removing
it gives back). Later versions may add keys, but take away and change none. Exit
codes: kindling help exit-codes.`,
		Example: `  kindling gc --dry-run
  kindling gc --grace 0s --root "$(cat instance/set-id)"`,
		Args: usage(cobra.NoArgs),
		RunE: setVerb(func(cmd *cobra.Command, _ []string) error {
			for _, root := range roots {
				if err := checkSetID(root); err != nil {
					return err
				}
			}
			if grace < 0 {
				return usageError{fmt.Errorf("--grace is %v, want a positive time or 0s", grace)}
			}
			if grace == 0 {
				grace = system.NoGrace
			}
			store, err := flags.store(system.Options{})
			if err != nil {
				return err
			}
			// What was removed before an error is told.
			decisions, problem := store.Collect(cmd.Context(), system.CollectOptions{Roots: roots, Grace: grace, DryRun: dryRun})
			decisions = append([]system.Decision{}, decisions...)
			return errors.Join(problem, printReport(cmd.OutOrStdout(), flags.format, decisions, func(w io.Writer) {
				printDecisions(w, decisions, dryRun)
			}))
		}),
	}
	cmd.Flags().StringSliceVar(&roots, "root", nil, "keep the set with this `ID`; can be repeated")
	cmd.Flags().DurationVar(&grace, "grace", system.DefaultGrace, "keep what was asked for less than this `TIME` ago")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "remove nothing")
	flags = addSetFlags(cmd)
	return cmd
}

func printDecisions(w io.Writer, decisions []system.Decision, dryRun bool) {
	removed := "removed"
	if dryRun {
		removed = "would remove"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range decisions {
		what := "keep"
		if d.Remove {
			what = removed
		}
		name := d.ID
		if name == "" {
			name = printable(d.Path)
		}
		fmt.Fprintf(table, "%s\t%s\t%d bytes\t%s\n", what, name, d.Bytes, d.Reason)
	}
	// The writer behind keeps its errors until it is flushed.
	_ = table.Flush()
}
