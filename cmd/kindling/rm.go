package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func rmCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm [flags] VM...",
		Short: "Remove what is left of machines",
		Long: `Remove the outcome and the output of machines that have ended, and print their
names. A machine that runs is an error, unless -f is given, which kills it.`,
		Example: `  kindling rm web
  kindling rm -f web db`,
		Args:              usage(checkNames),
		ValidArgsFunction: completeMachines(math.MaxInt, anyMachine),
		RunE: func(cmd *cobra.Command, args []string) error {
			return removeAll(cmd.Context(), args, force, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill machines that run")
	addEnvironment(cmd)
	return cmd
}

// checkNames checks arguments that are names of machines.
func checkNames(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("got no machine, want VM...")
	}
	for _, name := range args {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func removeAll(ctx context.Context, names []string, force bool, stdout io.Writer) error {
	state, err := stateDir()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		err := removeMachine(ctx, state, name, force)
		if err == nil {
			_, err = fmt.Fprintln(stdout, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func removeMachine(ctx context.Context, state, name string, force bool) error {
	m, err := findMachine(state, name)
	if err != nil {
		return err
	}
	if m.PID != 0 {
		if !force {
			return fmt.Errorf("machine %s is %s; kindling stop ends it, rm -f kills it", name, m.State)
		}
		// One that has ended meanwhile is what we want.
		if _, err := stopMachine(ctx, state, name, 0); err != nil && !errors.Is(err, errNotRunning) {
			return err
		}
	}
	return removeEnded(state, name)
}

// removeEnded removes what is left of a machine that has ended.
func removeEnded(state, name string) (err error) {
	unlock, err := lockClaims(state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	lock, err := lockFile(filepath.Join(state, locksFolder, name), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("remove machine %s: another of its name has been started", name)
	case err != nil:
		return fmt.Errorf("remove machine %s: %w", name, err)
	default: // a killed process left it
		if err := errors.Join(retire(state, name), lock.Close()); err != nil {
			return fmt.Errorf("remove machine %s: %w", name, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(state, endedFolder, name)); err != nil {
		return fmt.Errorf("remove machine %s: %w", name, err)
	}
	return nil
}
