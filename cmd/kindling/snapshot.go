package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// syncTime is how long a guest has to set its clock.
const syncTime = 30 * time.Second

func snapshotCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot VM DIR",
		Short: "Save a machine in a folder",
		Long: `Write the memory of a running machine and copies of its disks to a new folder,
DIR, and print its path. kindling restore makes machines of it that go on where
this one was. The folder is there complete or not at all, and it holds whatever
the machine had in its memory, secrets as well.

The machine stands still meanwhile, and then goes on with the right time; a paused
one stays paused. Calls of kindling exec and cp lose their connection. Machines
under Cloud Hypervisor are refused.`,
		Example: `  kindling snapshot web ./web-1
  kindling restore -d --name web-2 ./web-1`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[1] == "" {
				return fmt.Errorf("got %q, want VM DIR", args)
			}
			return checkName(args[0])
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := stateDir()
			if err != nil {
				return err
			}
			if err := takeSnapshot(cmd.Context(), state, args[0], args[1]); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), args[1])
			return err
		},
	}
}

func takeSnapshot(ctx context.Context, state, name, target string) error {
	machine, dir, err := running(ctx, state, name)
	if err != nil {
		return err
	}
	r, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("machine %s is starting; it cannot be saved before its guest runs", name)
	}
	if err != nil {
		return err
	}
	if r.Hypervisor == hypervisorCloud {
		return fmt.Errorf("machine %s runs under %s, and kindling saves machines under qemu only", name, r.Hypervisor)
	}
	err = writeSnapshot(target, func(folder string) (*snapshot, error) { return saveMachine(machine, dir, folder, r) })
	if err != nil {
		return fmt.Errorf("save machine %s: %w", name, err)
	}
	return nil
}

// saveMachine writes the files of a snapshot to a folder.
func saveMachine(ctx context.Context, dir, folder string, r *record) (*snapshot, error) {
	if r.Boot == nil {
		return nil, errors.New("it was started by an older kindling")
	}
	version, err := qemu.Version(ctx, dir)
	if err != nil {
		return nil, err
	}
	set := system.Set{
		ID: r.Set, Arch: r.Arch, KernelVersion: r.Boot.KernelVersion, KernelSHA256: r.Boot.KernelSHA256,
		InitrdSHA256: r.Boot.InitrdSHA256, AgentProtocol: r.Boot.AgentProtocol,
	}
	boot, err := set.Snapshot(r.Boot.CommandLine, system.Hypervisor{Name: hypervisorQEMU, Version: version}).Marshal()
	if err != nil {
		return nil, err
	}
	paused, err := qemu.Paused(ctx, dir)
	if err != nil {
		return nil, err
	}
	if !paused {
		if err := awaitAgent(ctx, dir); err != nil {
			return nil, err
		}
	}
	s := &snapshot{
		Version: snapshotVersion, Boot: json.RawMessage(boot), Accel: r.Accel, MemoryMiB: r.MemoryMiB, CPUs: r.CPUs, Network: r.Network, StopSignal: r.StopSignal,
		Name: r.Name, Image: r.Image, Command: r.Command, Env: r.Env, Volumes: r.Volumes,
	}
	memory := filepath.Join(folder, memoryFile)
	err = qemu.Save(ctx, dir, memory, func() error {
		s.Taken = time.Now().UTC()
		for i, disk := range r.Disks {
			file, err := copySparse(ctx, filepath.Join(folder, diskFile(i)), disk.Path)
			if err != nil {
				return err
			}
			s.Disks = append(s.Disks, snapshotDisk{file, disk.ReadOnly})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !paused {
		if err := syncClock(ctx, dir, withAgentAgain); err != nil {
			return nil, err
		}
	}
	if s.Memory, err = copySparse(ctx, "", memory); err != nil {
		return nil, err
	}
	s.Memory.File = memoryFile
	return s, syncFile(memory)
}

// awaitAgent waits until a guest listens: before, it does not let go of its vsock
// either.
func awaitAgent(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncTime, fmt.Errorf("guest's agent did not answer within %v", syncTime))
	defer cancel()
	return withAgent(ctx, dir, func(*agent.Client) error { return nil })
}

// syncClock gives a guest that goes on the right time.
func syncClock(
	ctx context.Context, dir string, callAgent func(context.Context, string, func(*agent.Client) error) error,
) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncTime, fmt.Errorf("guest's agent did not answer within %v", syncTime))
	defer cancel()
	return callAgent(ctx, dir, func(client *agent.Client) error {
		_, _, err := client.SyncClock(ctx, 0)
		return err
	})
}
