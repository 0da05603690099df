package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kindling",
		Short: "Run OCI images in small virtual machines",
		Long: `Run OCI images in small virtual machines, and keep the kernels and initrds that
they boot from.

Every flag can be given by the environment variable behind its description; the
command line wins; one that can be repeated has one value there. Machines have
their files below KINDLING_STATE_DIR (default: $XDG_STATE_HOME/kindling or
~/.local/state/kindling). Exit codes: kindling help exit-codes.`,
		Example:       "  kindling run -- echo hello",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), execCommand(), cpCommand(), statCommand(), stopCommand(), artifactCommand())
	root.AddCommand(installCommand(), lsCommand(), resolveCommand(), pathsCommand(), verifyCommand(), gcCommand(),
		pullCommand(), pushCommand(), doctorCommand(), exitCodesTopic())
	root.AddCommand(pauseCommand(), resumeCommand(), snapshotCommand(), restoreCommand())
	root.AddCommand(psCommand(), logsCommand(), inspectCommand(), rmCommand(), superviseCommand(), docsCommand())
	return root
}

// addDefaults adds cobra's commands for help and completion now, which then write
// to where the root command writes. Cobra itself gives help, and exit code 0, for
// what they do not know.
func addDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = usage(func(cmd *cobra.Command, args []string) error {
				if _, rest, err := cmd.Root().Find(args); err != nil || len(rest) > 0 {
					return fmt.Errorf("unknown help topic %q", strings.Join(args, " "))
				}
				return nil
			})
		case "completion":
			cmd.Args = usage(cobra.NoArgs)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = usage(shell.Args)
			}
		}
	}
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

// addEnvironment gives each flag of a command the value of an environment
// variable, where that is not empty and the flag not on the command line:
// KINDLING_ and the flag's name in capitals.
func addEnvironment(cmd *cobra.Command) {
	variables := map[string]string{}
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		variables[flag.Name] = "KINDLING_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		flag.Usage += " [" + variables[flag.Name] + "]"
	})
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			variable := variables[flag.Name]
			value := os.Getenv(variable)
			if variable == "" || value == "" || flag.Changed || err != nil {
				return
			}
			if problem := cmd.Flags().Set(flag.Name, value); problem != nil {
				err = usageError{fmt.Errorf("%s: %w", variable, problem)}
			}
		})
		return err
	}
}
