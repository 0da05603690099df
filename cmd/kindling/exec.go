package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
)

func execCommand() *cobra.Command {
	var interactive bool
	var workdir string
	cmd := &cobra.Command{
		Use:   "exec [flags] VM -- COMMAND [ARG...]",
		Short: "Run a command in a running machine",
		Long:  "Run a command in a running machine and exit with its exit code.",
		Example: `  kindling exec web -- ps
  echo hello | kindling exec -i web -- sh -c 'cat > /tmp/greeting'`,
		Args: usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			socket, err := socketOf(args[0], qemu.VsockName)
			if err != nil {
				return err
			}
			client, err := agent.NewHybridClient(socket)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, client.Close()) }()
			var stdin io.Reader
			if interactive {
				stdin = cmd.InOrStdin()
			}
			if err := client.WaitReady(cmd.Context()); err != nil {
				return err
			}
			code, err := client.Exec(cmd.Context(), agent.ExecOptions{
				Command: args[1:],
				Dir:     workdir,
				Stdin:   stdin,
				Stdout:  cmd.OutOrStdout(),
				Stderr:  cmd.ErrOrStderr(),
			})
			if err != nil {
				return err
			}
			if code < 0 {
				return fmt.Errorf("command in machine %s was killed", args[0])
			}
			if code > 0 {
				return commandExit{code}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "pass standard input to the command")
	cmd.Flags().StringVarP(&workdir, "workdir", "w", "", "working `FOLDER` of the command in the guest")
	cmd.Flags().SetInterspersed(false)
	return cmd
}
