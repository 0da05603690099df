package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
)

func execCommand() *cobra.Command {
	var interactive bool
	var workdir string
	cmd := &cobra.Command{
		Use:   "exec [flags] VM -- COMMAND [ARG...]",
		Short: "Run a command in a running machine",
		Long: `Run a command in the machine that was given the name VM by kindling run --name,
and exit with its exit code: 126 and 127 where it could not be started, 125
where kindling itself failed or a signal killed the command.`,
		Example: `  kindling exec web -- ps
  echo hello | kindling exec -i web -- sh -c 'cat > /tmp/greeting'`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return fmt.Errorf("got %q, want VM -- COMMAND [ARG...]", args)
			}
			return checkName(args[0])
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := agent.ExecOptions{
				Command: args[1:],
				Dir:     workdir,
				Stdout:  cmd.OutOrStdout(),
				Stderr:  cmd.ErrOrStderr(),
			}
			if interactive {
				options.Stdin = cmd.InOrStdin()
			}
			return execIn(cmd.Context(), args[0], options)
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "pass standard input to the command")
	cmd.Flags().StringVarP(&workdir, "workdir", "w", "", "working `FOLDER` of the command in the guest")
	addEnvironment(cmd)
	return cmd
}

// execIn runs a command in a running machine, which may still boot.
func execIn(ctx context.Context, name string, options agent.ExecOptions) (err error) {
	state, err := stateDir()
	if err != nil {
		return err
	}
	ctx, dir, err := running(ctx, state, name)
	if err != nil {
		return err
	}
	client, err := agent.NewHybridClient(qemu.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	code, err := client.Exec(ctx, options)
	if err != nil {
		return startFailure(err)
	}
	if code == -1 {
		return fmt.Errorf("command in machine %s was killed", name)
	}
	return exitWith(code, "")
}

// startFailure gives the error of a command that could not be started the exit
// code that docker gives it. Hosts know it by its text alone: contract 2.3.
func startFailure(err error) error {
	_, why, found := strings.Cut(err.Error(), "start command: ")
	switch {
	case !found:
		return err
	case strings.HasSuffix(why, "executable file not found in $PATH"), strings.HasSuffix(why, "no such file or directory"):
		return exitWith(contract.ExitNotFound, why)
	default:
		return exitWith(contract.ExitNotExecutable, why)
	}
}
