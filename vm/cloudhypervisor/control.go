package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The functions below are for any process that may use a machine's folder.

// Pause stops a machine's processors. It is no error where they stand still.
func Pause(ctx context.Context, dir string) error {
	if err := newClient(dir).turn(ctx, true); err != nil {
		return fmt.Errorf("pause machine: %w", err)
	}
	return nil
}

// Resume lets a machine run on. It is no error where it runs.
func Resume(ctx context.Context, dir string) error {
	if err := newClient(dir).turn(ctx, false); err != nil {
		return fmt.Errorf("resume machine: %w", err)
	}
	return nil
}

// Paused tells whether a machine's processors stand still.
func Paused(ctx context.Context, dir string) (bool, error) {
	state, err := newClient(dir).state(ctx)
	if err != nil {
		return false, fmt.Errorf("look at machine: %w", err)
	}
	return state == paused, nil
}

// Version is that of the program that runs a machine.
func Version(ctx context.Context, dir string) (string, error) {
	version, err := newClient(dir).version(ctx)
	if err != nil {
		return "", fmt.Errorf("find version of %s: %w", Program, err)
	}
	return version, nil
}

// Save writes the state of a machine's processors, memory and devices to a new
// folder, has copyDisks copy the disks as they are then, and lets the machine run
// on, unless it was paused before. See Restore.
func Save(ctx context.Context, dir, name string, copyDisks func() error) error {
	if err := newClient(dir).save(ctx, name, copyDisks); err != nil {
		return fmt.Errorf("save machine: %w", err)
	}
	return nil
}

func (c *client) save(ctx context.Context, name string, copyDisks func() error) (err error) {
	// The program's current folder is another one.
	name, err = filepath.Abs(name)
	if err != nil {
		return err
	}
	state, err := c.state(ctx)
	if err != nil {
		return err
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}()
	if state != paused {
		// Whatever happens, and also where the caller wants no more of it.
		defer func() { err = errors.Join(err, c.turn(context.WithoutCancel(ctx), false)) }()
		if err := c.turn(ctx, true); err != nil {
			return err
		}
	}
	// The program takes what is behind file:// as it is.
	if err := c.put(ctx, "vm.snapshot", map[string]string{"destination_url": "file://" + name}); err != nil {
		return err
	}
	return copyDisks()
}

// turn stops a machine's processors or lets them run, unless they do so.
func (c *client) turn(ctx context.Context, off bool) error {
	state, err := c.state(ctx)
	switch {
	case err != nil:
		return err
	case (state == paused) == off:
		return nil
	case off:
		return c.put(ctx, "vm.pause", nil)
	default:
		return c.put(ctx, "vm.resume", nil)
	}
}
