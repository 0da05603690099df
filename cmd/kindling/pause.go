package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// answerTime is how long an agent has to answer whose vsock is plugged in.
const answerTime = 8 * time.Second

// lookTime is how long ps and inspect wait for a hypervisor to say whether its
// machine is paused. One that is busy with a snapshot does not.
const lookTime = time.Second

func pauseCommand() *cobra.Command {
	return controlCommand(&cobra.Command{
		Use:   "pause VM...",
		Short: "Stop machines' processors",
		Long: `Stop the processors of running machines, and print their names. Nothing in a
paused machine goes on; its memory stays where it is, and its network waits.
Under QEMU, calls of kindling exec and cp lose their connection. It goes on with
kindling resume. One that is paused is left alone.

kindling stop lets a paused machine go on, so that its guest can stop.`,
		Example: `  kindling pause web`,
	}, pauseMachine)
}

func resumeCommand() *cobra.Command {
	return controlCommand(&cobra.Command{
		Use:   "resume VM...",
		Short: "Let paused machines go on",
		Long: `Let machines go on that kindling pause has stopped, and print their names. The
guest's clock is set to this machine's. So does a machine that stands still for
another reason: a full disk of the host, or a kindling snapshot that was killed.`,
		Example: `  kindling resume web`,
	}, resumeMachine)
}

// controlCommand is a verb that does one thing to each of some running machines.
func controlCommand(cmd *cobra.Command, do func(ctx context.Context, dir string) error) *cobra.Command {
	cmd.Args = usage(checkNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		state, err := stateDir()
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range args {
			err := controlMachine(cmd.Context(), state, name, do)
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return cmd
}

func controlMachine(ctx context.Context, state, name string, do func(ctx context.Context, dir string) error) error {
	machine, dir, err := running(ctx, state, name)
	if err != nil {
		return err
	}
	if err := do(machine, dir); err != nil {
		return fmt.Errorf("machine %s: %w", name, err)
	}
	return nil
}

func pauseMachine(ctx context.Context, dir string) error {
	c, err := controlOf(dir)
	if err != nil {
		return err
	}
	return c.pause(ctx, dir)
}

// resumeMachine lets a machine go on with the right time.
func resumeMachine(ctx context.Context, dir string) error {
	c, err := controlOf(dir)
	if err != nil {
		return err
	}
	if err := c.resume(ctx, dir); err != nil {
		return err
	}
	if err := syncClock(ctx, dir, c.callAgent); err != nil {
		return fmt.Errorf("it goes on, with a clock that is late: %w", err)
	}
	return nil
}

// withAgent calls the agent of a machine, as soon as it listens.
func withAgent(ctx context.Context, dir string, call func(*agent.Client) error) (err error) {
	client, err := agent.NewHybridClient(vm.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.WaitReady(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return call(client)
}

// withAgentAgain calls the agent of a machine under QEMU whose vsock has just been
// plugged in. vhost-device-vsock can miss the guest's first notification, when it
// comes before the queue is enabled, and is deaf then: a new device helps.
func withAgentAgain(ctx context.Context, dir string, call func(*agent.Client) error) error {
	for {
		answered := false
		attempt, cancel := context.WithTimeout(ctx, answerTime)
		err := withAgent(attempt, dir, func(client *agent.Client) error {
			answered = true
			return call(client)
		})
		cancel()
		if err == nil || answered {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := qemu.Pause(ctx, dir); err != nil {
			return err
		}
		if err := qemu.Resume(ctx, dir); err != nil {
			return err
		}
	}
}

// waitAwake waits for the agent of a machine, which may still boot, until it
// turns out that the machine is paused.
func waitAwake(ctx context.Context, name, dir string, client *agent.Client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(lookTime, func() {
		if isPaused(ctx, dir) {
			cancel(fmt.Errorf("machine %s is paused; kindling resume %s lets it go on", name, name))
		}
	})
	defer timer.Stop()
	if err := client.WaitReady(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// wake lets a machine go on that is paused, since it is to end: its guest can do
// nothing about that otherwise. One that cannot be woken is killed when its time
// is over.
func wake(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := controlOf(dir)
	if err != nil {
		return
	}
	if paused, err := c.paused(ctx, dir); err == nil && paused {
		_ = c.resume(ctx, dir)
	}
}

// isPaused tells whether a machine's hypervisor says that it is paused. What
// cannot be asked has just ended, or is busy.
func isPaused(ctx context.Context, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := controlOf(dir)
	if err != nil {
		return false
	}
	paused, err := c.paused(ctx, dir)
	return err == nil && paused
}

// lookPaused says which of the machines that run are paused.
func lookPaused(ctx context.Context, state string, machines []machine) {
	var wg sync.WaitGroup
	for i := range machines {
		m := &machines[i]
		if m.State != stateRunning {
			continue
		}
		wg.Go(func() {
			dir, err := machineDir(state, m.Name)
			if err == nil && isPaused(ctx, dir) {
				m.State = statePaused
			}
		})
	}
	wg.Wait()
}
