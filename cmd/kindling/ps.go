package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func psCommand() *cobra.Command {
	var all bool
	var format *string
	cmd := &cobra.Command{
		Use:   "ps [flags]",
		Short: "List machines",
		Long: `List the machines that run, or all that something is known of, by name. A
machine is

    starting  its image is read and its disks are written
    running   its hypervisor runs
    paused    so it does, but the guest stands still: after kindling pause, or
              because a disk image could not be written
    exited    it has ended, with the exit code that kindling run had
    lost      its process was killed, and the hypervisor with it

With -o json, the output is one JSON array; what is in it, kindling inspect
prints of one machine. With -o id it is the names.`,
		Example: `  kindling ps
  kindling ps -a -o json`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := stateDir()
			if err != nil {
				return err
			}
			machines, err := findMachines(state)
			if err != nil {
				return err
			}
			lookPaused(cmd.Context(), state, machines)
			if !all {
				machines = slices.DeleteFunc(machines, func(m machine) bool { return m.PID == 0 })
			}
			return printMachines(cmd.OutOrStdout(), *format, machines)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list machines that have ended, too")
	format = cmd.Flags().StringP("output", "o", "table", "print a `FORMAT`: table, json or id")
	addEnvironment(cmd)
	return cmd
}

func printMachines(w io.Writer, format string, machines []machine) error {
	switch format {
	case "id":
		for _, m := range machines {
			if _, err := fmt.Fprintln(w, m.Name); err != nil {
				return fmt.Errorf("print machines: %w", err)
			}
		}
		return nil
	case "table":
		return printTable(w, machines)
	case "json":
		if machines == nil {
			machines = []machine{}
		}
		return printReport(w, format, machines, nil)
	default:
		return usageError{fmt.Errorf("--output is %q, want table, json or id", format)}
	}
}

func printTable(w io.Writer, machines []machine) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tIMAGE\tSTATE\tEXIT\tSTARTED")
	for _, m := range machines {
		image, exit, started := "-", "-", "-"
		if m.Image != "" {
			image = m.Image
		}
		if m.ExitCode != nil {
			exit = strconv.Itoa(*m.ExitCode)
		}
		if !m.Started.IsZero() {
			started = m.Started.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", m.Name, image, m.State, exit, started)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print machines: %w", err)
	}
	return nil
}
