package main

import (
	"github.com/spf13/cobra"
)

func inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect VM",
		Short: "Describe a machine",
		Long: `Print what is known of the machine called VM, running or ended, as one JSON
document. Of environment variables it has the names only. Later versions may add
keys, but take away and change none.`,
		Example: `  kindling inspect web`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			return checkName(args[0])
		}),
		ValidArgsFunction: completeMachines(1, anyMachine),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := stateDir()
			if err != nil {
				return err
			}
			m, err := findMachine(state, args[0])
			if err != nil {
				return err
			}
			found := []machine{*m}
			lookPaused(cmd.Context(), state, found)
			return printReport(cmd.OutOrStdout(), "json", found[0], nil)
		},
	}
}
