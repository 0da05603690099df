package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/timeline"
)

const (
	// renewTime is how long a restored guest has to become a machine of its own.
	renewTime = 30 * time.Second
	// seedSize is how many random bytes a restored guest gets.
	seedSize = 64
)

func restoreCommand() *cobra.Command {
	r := request{}
	var detach bool
	cmd := &cobra.Command{
		Use:   "restore [flags] DIR",
		Short: "Make a machine of a snapshot",
		Long: `Make a machine of the folder DIR that kindling snapshot wrote, and let it go on
where the other one was: print what its command prints from then on and exit with
its exit code, as kindling run does. A snapshot can be restored many times, also
at the same time; DIR stays as it was, and must while its machines run.

Each machine gets the right time, other random numbers and a machine ID of its
own. What its programs had taken from these before is the same in all. Ports are
published with -p only. A volume that the guest writes is a copy: the original
stays as it is, and the copy ends with the machine.

It takes the very same artifact set, the one that was built with kindling or one
that is installed, and the same version of the hypervisor. Exit codes are those
of run: 125 where something is missing.`,
		Example: `  kindling restore ./web-1
  kindling restore -d --name web-2 -p 8081:80 ./web-1`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return fmt.Errorf("got %q, want DIR", args)
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Name != "" {
				if err := checkName(r.Name); err != nil {
					return err
				}
			}
			if r.Snapshot, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			s, boot, err := readSnapshot(r.Snapshot)
			if err != nil {
				return err
			}
			r.Accel, r.Memory, r.CPUs, r.Network, r.Arch, r.Image, r.Hypervisor, r.Progress = s.Accel, s.MemoryMiB, s.CPUs, s.Network, boot.Arch, s.Image, hypervisorQEMU, "quiet"
			if r.Manifest == "" {
				if r.Manifest, err = builtSetOf(boot.SetID, boot.Arch); err != nil {
					return err
				}
			}
			if r.Manifest == "" {
				r.Set = boot.SetID
			}
			if err := r.check(); err != nil {
				return usageError{err}
			}
			return r.start(cmd, detach)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Name, "name", "", "`NAME` of the machine, for kindling exec (default: a random one)")
	flags.StringVar(&r.Manifest, "artifacts", "", "manifest `FILE` of the kernel and initrd (default: those built with kindling, or installed)")
	addDataDir(cmd, &r.DataDir)
	addMachineFlags(cmd, &r, &detach)
	addEnvironment(cmd)
	return cmd
}

// builtSetOf is the manifest of the artifact set that was built with this
// program, if it is that set, or "".
func builtSetOf(id, arch string) (string, error) {
	manifest, err := builtSet(arch)
	if err != nil {
		return "", nil // there is none
	}
	data, err := os.ReadFile(manifest)
	if err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return "", fmt.Errorf("read manifest %s: %w", manifest, err)
	}
	if built, err := m.ID(); err != nil || built != id {
		return "", err
	}
	return manifest, nil
}

// prepareRestore checks a snapshot and makes the disks that the machine writes.
func (r *request) prepareRestore(
	ctx context.Context, dir string, set *system.Set, _ *timeline.Recorder, _ io.Writer,
) (*vm.Spec, *record, func() error, error) {
	s, boot, err := readSnapshot(r.Snapshot)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := checkRestorable(ctx, boot, set); err != nil {
		return nil, nil, nil, fmt.Errorf("restore %s: %w", r.Snapshot, err)
	}
	forwards, err := parsePublish(r.Publish)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := checkFree(forwards); err != nil {
		return nil, nil, nil, err
	}
	if err := s.Memory.copyTo(ctx, r.Snapshot, ""); err != nil {
		return nil, nil, nil, err
	}
	spec := &vm.Spec{
		Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: set.Initrd, Cmdline: boot.CommandLine,
		MemoryMiB: s.MemoryMiB, CPUs: s.CPUs, CID: guestCID, UserNetwork: s.Network == networkUser, Forwards: forwards,
	}
	for _, disk := range s.Disks {
		from, copied := r.Snapshot, ""
		if !disk.ReadOnly {
			from, copied = dir, filepath.Join(dir, disk.File)
		}
		if err := disk.copyTo(ctx, r.Snapshot, copied); err != nil {
			return nil, nil, nil, err
		}
		spec.Disks = append(spec.Disks, vm.Disk{Path: filepath.Join(from, disk.File), ReadOnly: disk.ReadOnly})
	}
	made := newRecord(r, set, spec, s.Command, s.Env, s.Volumes)
	made.StopSignal = s.StopSignal
	return spec, made, func() error { return nil }, nil
}

// checkRestorable tells what keeps a snapshot from being restored here.
func checkRestorable(ctx context.Context, boot *system.Snapshot, set *system.Set) error {
	if set.ID != boot.SetID {
		return fmt.Errorf("it is of artifact set %s, and this is %s: get the other with kindling install %s", boot.SetID, set.ID, boot.SetID)
	}
	version, err := qemu.ProgramVersion(ctx, boot.Arch)
	if err != nil {
		return err
	}
	err = system.Compatible(system.Restore, boot, set, system.Hypervisor{Name: hypervisorQEMU, Version: version})
	if _, ok := errors.AsType[*system.IncompatibleError](err); ok {
		return fmt.Errorf("%w; put %s in PATH, or boot the image anew", err, boot.Hypervisor)
	}
	return err
}

// restore starts a machine of a snapshot and makes it one of its own. One that is
// not does not stay.
func (r *request) restore(ctx context.Context, spec vm.Spec, accel qemu.Accel) (vm.Machine, error) {
	machine, err := qemu.Restore(ctx, spec, accel, filepath.Join(r.Snapshot, memoryFile))
	if err != nil {
		return nil, err
	}
	if err := renew(ctx, spec.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("restore %s: %w", r.Snapshot, err), machine.Kill())
	}
	return machine, nil
}

// renew gives a guest what no two may have in common, and the right time. Its
// user network has a router of its own, so its addresses may stay.
func renew(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, renewTime, fmt.Errorf("guest's agent did not answer within %v", renewTime))
	defer cancel()
	return withAgentAgain(ctx, dir, func(client *agent.Client) error {
		seed := make([]byte, seedSize)
		_, _ = rand.Read(seed) // it ends the process rather than fail
		if err := client.ReseedRandom(ctx, seed); err != nil {
			return err
		}
		if _, _, err := client.SyncClock(ctx, 0); err != nil {
			return err
		}
		_, err := client.RebindIdentity(ctx, strings.ToLower(rand.Text()))
		return err
	})
}
