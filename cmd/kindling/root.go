package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kindling",
		Short:         "Run OCI images in small virtual machines",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), execCommand())
	return root
}

// usage makes the error of an argument check a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// environment gives flags that are not on the command line the values that the
// environment has for them: KINDLING_ and the flag's name in capitals.
func environment(flags *pflag.FlagSet, names map[string]string) error {
	for flag, variable := range names {
		value, ok := os.LookupEnv(variable)
		if !ok || flags.Changed(flag) {
			continue
		}
		if err := flags.Set(flag, value); err != nil {
			return usageError{fmt.Errorf("%s: %w", variable, err)}
		}
	}
	return nil
}
