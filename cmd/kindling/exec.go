package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
)

// exitTimedOut is the exit code of a command whose time was over, as timeout(1)
// has it.
const exitTimedOut = 124

func execCommand() *cobra.Command {
	var interactive, tty bool
	var env []string
	var o agent.ExecOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] VM -- COMMAND [ARG...]",
		Short: "Run a command in a running machine",
		Long: `Run a command in the machine that was given the name VM by kindling run --name,
and exit with its exit code: 128 plus the number of a signal that killed it, 126
and 127 where it could not be started, 124 where its time was over, 125 where
kindling itself failed.

With -t the command has a terminal of its own; with -it it is this terminal,
whose keys and size it gets, Ctrl-C among them. Without -t the command gets the
signals INT, TERM and HUP that kindling gets; the third one ends kindling.`,
		Example: `  kindling exec web -- ps
  kindling exec -it web -- sh
  echo hello | kindling exec -i web -- sh -c 'cat > /tmp/greeting'`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return fmt.Errorf("got %q, want VM -- COMMAND [ARG...]", args)
			}
			return checkName(args[0])
		}),
		ValidArgsFunction: completeMachines(1, isRunning),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Timeout < 0 {
				return usageError{fmt.Errorf("--timeout is %v, want a positive time", o.Timeout)}
			}
			if o.Env, err = environment(env); err != nil {
				return usageError{err}
			}
			o.Command, o.Stdout, o.Stderr = args[1:], cmd.OutOrStdout(), cmd.ErrOrStderr()
			if interactive {
				o.Stdin = cmd.InOrStdin()
			}
			if tty {
				o.TTY = &agent.TTY{}
			}
			if tty && interactive && !isTerminal(o.Stdin) {
				return errors.New("the input device is not a terminal; -t without -i needs none")
			}
			return execIn(cmd.Context(), args[0], o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&interactive, "interactive", "i", false, "pass standard input to the command")
	flags.BoolVarP(&tty, "tty", "t", false, "run the command on a terminal")
	flags.StringArrayVarP(&env, "env", "e", nil, "set an environment variable, `NAME=VALUE`, or NAME to pass it on; can be repeated")
	flags.StringVarP(&o.User, "user", "u", "", "run the command as `USER[:GROUP]` of the guest, by name or number (default: root)")
	flags.StringVarP(&o.Dir, "workdir", "w", "", "working `FOLDER` of the command in the guest")
	flags.DurationVar(&o.Timeout, "timeout", 0, "kill the command after this `TIME` (default: never)")
	addEnvironment(cmd)
	return cmd
}

// environment is what -e says. As docker has it, a name without a value that is
// not set here stays unset.
func environment(pairs []string) (map[string]string, error) {
	env := map[string]string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if name == "" {
			return nil, fmt.Errorf("--env is %q, want NAME=VALUE or NAME", pair)
		}
		if !found {
			if value, found = os.LookupEnv(name); !found {
				continue
			}
		}
		env[name] = value
	}
	return env, nil
}

// execIn runs a command in a running machine, which may still boot.
func execIn(ctx context.Context, name string, o agent.ExecOptions) (err error) {
	state, err := stateDir()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)
	machine, dir, err := running(context.WithoutCancel(ctx), state, name)
	if err != nil {
		return err
	}
	client, err := agent.NewHybridClient(vm.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := waitReady(ctx, machine, name, dir, client); err != nil {
		return err
	}
	o.ID = rand.Text()
	if o.TTY != nil {
		restore, problem := attachTerminal(&o)
		if problem != nil {
			return problem
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	exit, err := execForwarding(machine, client, o, signals)
	if err != nil {
		return execFailure(err)
	}
	return outcomeOf(exit, name)
}

// execFailure gives the error of a command that could not be started the exit
// code that docker gives it.
func execFailure(err error) error {
	start, ok := errors.AsType[*agent.StartError](err)
	switch {
	case !ok:
		return err
	case start.NotFound:
		return exitWith(contract.ExitNotFound, start.Reason)
	default:
		return exitWith(contract.ExitNotExecutable, start.Reason)
	}
}

// outcomeOf ends kindling as a command in a machine ended.
func outcomeOf(exit agent.ExitStatus, name string) error {
	switch {
	case exit.TimedOut:
		return exitWith(exitTimedOut, fmt.Sprintf("command in machine %s did not end within its time", name))
	case exit.Signal != 0:
		return exitWith(128+int(exit.Signal), "")
	case exit.Code < 0: // an old agent, which does not tell why
		return fmt.Errorf("command in machine %s was killed", name)
	default:
		return exitWith(exit.Code, "")
	}
}
