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
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/vm/agent"
)

const (
	// endTime is how long a guest may take to power off behind the time that its
	// processes have.
	endTime = 2 * time.Second
	// killTime is how long a machine's process may take to kill the machine and
	// remove its files.
	killTime = 5 * time.Second
)

func stopCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "stop [flags] VM...",
		Short: "Stop running machines",
		Long: `Ask the guests of the machines that were given these names by kindling run
--name to stop, wait until they have, and print the names. Commands get the stop
signal of their image, or SIGTERM. A machine whose guest has not stopped in its
time, and 2 seconds for its end, is killed, which is told. A paused one goes on
first.`,
		Example: `  kindling stop web
  kindling stop -t 60 web db`,
		Args:              usage(checkNames),
		ValidArgsFunction: completeMachines(math.MaxInt, isRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usageError{fmt.Errorf("--time is %d, want at least 0", limit)}
			}
			return stopAll(cmd.Context(), args, time.Duration(limit)*time.Second, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().IntVarP(&limit, "time", "t", 10, "`SECONDS` that the guest's processes may take to end; 0 kills the machine at once")
	addEnvironment(cmd)
	return cmd
}

// stopAll stops machines at the same time, and tells of them in their order.
func stopAll(ctx context.Context, names []string, limit time.Duration, stdout, stderr io.Writer) error {
	state, err := stateDir()
	if err != nil {
		return err
	}
	type outcome struct {
		killed bool
		err    error
	}
	outcomes := make([]outcome, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { outcomes[i].killed, outcomes[i].err = stopMachine(ctx, state, name, limit) })
	}
	wg.Wait()
	var errs []error
	for i, name := range names {
		if err := outcomes[i].err; err != nil {
			errs = append(errs, err)
			continue
		}
		if outcomes[i].killed && limit > 0 {
			fmt.Fprintf(stderr, "kindling: machine %s did not stop within %v and was killed\n", name, limit)
		}
		if _, err := fmt.Fprintln(stdout, name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stopMachine returns when a machine has ended, which it did not by itself if it
// was killed.
func stopMachine(ctx context.Context, state, name string, limit time.Duration) (killed bool, err error) {
	machine, dir, err := running(context.WithoutCancel(ctx), state, name)
	if err != nil {
		return false, err
	}
	process, err := owner(state, name)
	if err != nil {
		if machine.Err() != nil { // it has ended meanwhile
			return false, nil
		}
		return false, err
	}
	defer func() { err = errors.Join(err, process.Release()) }()
	if limit > 0 {
		ended, err := stopGuest(ctx, machine, dir, limit)
		if ended || err != nil {
			return false, err
		}
	}
	// The machine's process asks the guest at the first signal, kills it at the
	// second, and removes the machine's files. Two of a kind could become one.
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGINT} {
		if err := process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return false, fmt.Errorf("end machine %s: %w", name, err)
		}
	}
	timer := time.NewTimer(killTime)
	defer timer.Stop()
	select {
	case <-machine.Done():
		return true, nil
	case <-timer.C:
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, fmt.Errorf("kill machine %s: %w", name, err)
	}
	<-machine.Done()
	return true, nil
}

// stopGuest asks a guest to stop and waits until its machine has ended or its
// time is over, which it is at once where the guest cannot be asked.
func stopGuest(ctx, machine context.Context, dir string, limit time.Duration) (ended bool, err error) {
	timer := time.NewTimer(limit + endTime)
	defer timer.Stop()
	asking, cancel := context.WithTimeout(machine, limit)
	defer cancel()
	asked := make(chan error, 1)
	go func() { asked <- askToStop(asking, dir, limit) }()
	for {
		select {
		case <-machine.Done():
			return true, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timer.C:
			return false, nil
		case err := <-asked:
			// The guest may end before its answer is out, or before it is asked again,
			// and its record is gone then.
			ending := errors.Is(err, agent.ErrLost) || errors.Is(err, agent.ErrUnavailable) || errors.Is(err, fs.ErrNotExist)
			if err != nil && !ending && machine.Err() == nil {
				return false, nil
			}
		}
	}
}

func askToStop(ctx context.Context, dir string, grace time.Duration) error {
	wake(ctx, dir)
	return withAgent(ctx, dir, func(client *agent.Client) error {
		// A machine whose agent answers has been started, and so has its record.
		r, err := readRecord(dir)
		if err != nil {
			return err
		}
		sig := guestSignal(unix.SignalNum(r.StopSignal), r.StopSignal)
		return client.Shutdown(ctx, agent.ShutdownOptions{Signal: sig, Grace: grace, Reason: "kindling stop"})
	})
}

// owner is the process of a running machine.
func owner(state, name string) (*os.Process, error) {
	path := filepath.Join(state, locksFolder, name)
	pid, err := lockOwner(path)
	if err != nil {
		return nil, fmt.Errorf("find process of machine %s: %w", name, err)
	}
	// From here on the process is known by a handle, which its number's next owner
	// does not get.
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("find process of machine %s: %w", name, err)
	}
	if err := holds(pid, path); err != nil {
		return nil, errors.Join(fmt.Errorf("find process of machine %s: %w", name, err), process.Release())
	}
	return process, nil
}

// holds checks that a process has a file open. One of the same number may not,
// where the one that wrote it is in another container.
func holds(pid int, path string) error {
	want, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// One that is closed meanwhile is none that we look for.
		if got, err := os.Stat(filepath.Join(dir, entry.Name())); err == nil && os.SameFile(want, got) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not hold %s", pid, path)
}
