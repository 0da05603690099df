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

	"github.com/bazelbuild/rules_go/go/runfiles"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/configdisk"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

const (
	// cmdline is the contract's, and keeps the kernel's own messages off the
	// console, which an emulated serial port sends byte by byte.
	cmdline = "console=ttyS0 quiet loglevel=1 panic=-1"

	// guestCID needs to differ from other machines' only where they share the
	// host kernel's vsock, and none does.
	guestCID = 3

	overlaySize = 1 << 30

	// shutdownTimeout bounds the call that asks a guest to stop, stopTimeout how
	// long it then has.
	shutdownTimeout = 1500 * time.Millisecond
	stopTimeout     = 5 * time.Second
)

// options are the flags of run.
type options struct {
	name      string
	manifest  string
	accel     string
	memory    int
	cpus      int
	timeout   time.Duration
	serialLog string
}

func runCommand() *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "run [flags] [IMAGE] [-- COMMAND [ARG...]]",
		Short: "Run an image in a virtual machine",
		Long: `Run an image in a virtual machine of its own, print what its command prints and
exit with its exit code: 128 plus the number of a signal that killed it, 125
where kindling itself failed.

IMAGE is a folder with an OCI image layout, a file made by docker save, or a
reference in a registry. Without one, the machine runs the small busybox system
that its initrd is made from. COMMAND takes the place of the image's own.`,
		Example: `  kindling run -- echo hello
  kindling run ./image.tar
  kindling run --name web registry.example/team/web:1.2 -- httpd -f`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if images := argsBeforeDash(cmd, args); len(images) > 1 {
				return fmt.Errorf("want one image, got %q; the command goes behind --", images)
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := environment(cmd.Flags(), map[string]string{
				"accel": "KINDLING_ACCEL", "artifacts": "KINDLING_ARTIFACTS", "cpus": "KINDLING_CPUS", "memory": "KINDLING_MEMORY",
				"name": "KINDLING_NAME", "serial-log": "KINDLING_SERIAL_LOG", "timeout": "KINDLING_TIMEOUT",
			}); err != nil {
				return err
			}
			images := argsBeforeDash(cmd, args)
			return o.run(cmd.Context(), strings.Join(images, ""), args[len(images):], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.name, "name", "", "`NAME` of the machine, for kindling exec (default: a random one)")
	flags.StringVar(&o.manifest, "artifacts", "", "manifest `FILE` of the kernel and initrd (default: those built with kindling)")
	flags.StringVar(&o.accel, "accel", "auto", "auto, kvm or tcg (emulation)")
	flags.IntVarP(&o.memory, "memory", "m", 512, "guest memory in `MiB`")
	flags.IntVar(&o.cpus, "cpus", 1, "virtual CPUs")
	flags.DurationVar(&o.timeout, "timeout", 0, "kill the machine after this `TIME` (default: never)")
	flags.StringVar(&o.serialLog, "serial-log", "", "keep all serial output in `FILE`")
	return cmd
}

func argsBeforeDash(cmd *cobra.Command, args []string) []string {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		return args[:dash]
	}
	return args
}

func (o *options) run(ctx context.Context, ref string, argv []string, stdout, stderr io.Writer) (err error) {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("machine did not end within %v", o.timeout))
		defer cancel()
	}
	if o.name == "" {
		o.name = strings.ToLower("vm-" + rand.Text()[:8])
	}
	set, err := openSet(o.manifest)
	if err != nil {
		return err
	}
	accel, err := chooseAccel(ctx, o.accel, set.Kernel)
	if err != nil {
		return err
	}
	image, err := loadImage(ctx, ref, set)
	if err != nil {
		return err
	}
	config, err := guestConfig(image, argv)
	if err != nil {
		return err
	}
	dir, release, err := claim(o.name)
	if err != nil {
		return err
	}
	keep := false
	defer func() { err = errors.Join(err, release(keep)) }()
	disks, err := writeDisks(dir, image, config)
	if err != nil {
		return err
	}
	if o.serialLog == "" {
		o.serialLog = filepath.Join(dir, "serial.log")
	}
	log, err := vm.OpenSerialLog(o.serialLog, 0)
	if err != nil {
		return err
	}
	output := vm.NewAppOutput(stdout)
	err = boot(ctx, vm.Spec{
		Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: set.Initrd, Cmdline: cmdline,
		MemoryMiB: o.memory, CPUs: o.cpus, Disks: disks, CID: guestCID,
		Serial: io.MultiWriter(log, output),
	}, accel)
	if err := errors.Join(err, output.Flush(), log.Close()); err != nil {
		return err
	}
	info, err := vm.ReadExit(o.serialLog)
	if err != nil {
		keep = true
		return fmt.Errorf("the guest ended without telling how: %w (serial output: %s)", err, o.serialLog)
	}
	switch {
	case info.Code == 0:
		return nil
	case info.Code == contract.ExitBootFailed && info != contract.NewExitInfo(info.Code):
		keep = true
		return fmt.Errorf("%s (serial output: %s)", info.Message, o.serialLog)
	default:
		if info != contract.NewExitInfo(info.Code) {
			fmt.Fprintf(stderr, "kindling: %s\n", info.Message)
		}
		return commandExit{info.Code}
	}
}

// boot runs a machine to its end. When ctx ends, the guest is asked to stop,
// and killed if it does not.
func boot(ctx context.Context, spec vm.Spec, accel qemu.Accel) error {
	machine, err := qemu.Start(ctx, spec, accel)
	if err != nil {
		return err
	}
	kill, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); cause != context.Canceled {
			stop(cause) // out of time
			return
		}
		if err := shutDown(spec.Dir); err != nil {
			stop(fmt.Errorf("interrupted, and the guest could not be told: %w", err))
			return
		}
		time.AfterFunc(stopTimeout, func() { stop(fmt.Errorf("interrupted, and the guest did not stop within %v", stopTimeout)) })
	})()
	if err := machine.Wait(kill); err != nil {
		if cause := context.Cause(kill); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

func shutDown(dir string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	client, err := agent.NewHybridClient(qemu.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return client.Shutdown(ctx, unix.SIGTERM)
}

// openSet opens the artifact set that was built with this program, unless
// another is named.
func openSet(manifest string) (*system.Set, error) {
	if manifest == "" {
		var err error
		manifest, err = runfiles.Rlocation("_main/system/manifest_" + system.GetArch() + ".json")
		if err != nil {
			return nil, fmt.Errorf("find kernel and initrd; run kindling by bazel or name a manifest with --artifacts: %w", err)
		}
	}
	return system.Open(manifest)
}

func chooseAccel(ctx context.Context, name, kernel string) (qemu.Accel, error) {
	switch accel := qemu.Accel(name); accel {
	case qemu.KVM, qemu.TCG:
		return accel, nil
	case "auto":
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find cache folder: %w", err)
		}
		return qemu.Probe(ctx, kernel, filepath.Join(cache, "kindling"))
	default:
		return "", usageError{fmt.Errorf("--accel is %q, want auto, kvm or tcg", name)}
	}
}

// writeDisks makes the contract's three disks.
func writeDisks(dir string, image v1.Image, config *contract.Config) ([]vm.Disk, error) {
	disks := []vm.Disk{
		{Path: filepath.Join(dir, "root.ext4"), ReadOnly: true},
		{Path: filepath.Join(dir, "overlay.raw")},
		{Path: filepath.Join(dir, "config.ext4"), ReadOnly: true},
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, fmt.Errorf("list image's layers: %w", err)
	}
	if err := rootfs.WriteDisk(disks[0].Path, layers); err != nil {
		return nil, err
	}
	if err := rootfs.WriteOverlay(disks[1].Path, overlaySize); err != nil {
		return nil, err
	}
	return disks, configdisk.Write(disks[2].Path, config)
}
