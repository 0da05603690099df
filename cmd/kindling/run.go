package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	// guestCID needs to differ from other machines' only where they share the
	// host kernel's vsock, and none does.
	guestCID = 3

	overlaySize = 1 << 30

	// stopTimeout is how long an interrupted guest has to stop.
	stopTimeout = 5 * time.Second
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
that its initrd is made from. COMMAND takes the place of the image's own.

Ctrl-C asks the command to stop; the machine is killed 5 seconds later, or at
the second Ctrl-C.`,
		Example: `  kindling run -- echo hello
  kindling run ./image.tar
  kindling run --name web registry.example/team/web:1.2 -- httpd -f`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			images := argsBeforeDash(cmd, args)
			if len(images) > 1 {
				return fmt.Errorf("want one image, got %q; the command goes behind --", images)
			}
			if slices.Contains(images, "") {
				return errors.New("image has no name")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			images := argsBeforeDash(cmd, args)
			return o.run(cmd.Context(), strings.Join(images, ""), args[len(images):], cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.name, "name", "", "`NAME` of the machine, for kindling exec (default: a random one)")
	flags.StringVar(&o.manifest, "artifacts", "", "manifest `FILE` of the kernel and initrd (default: those built with kindling)")
	flags.StringVar(&o.accel, "accel", "auto", "run the guest by `HOW`: auto, kvm or tcg (emulation)")
	flags.IntVarP(&o.memory, "memory", "m", 512, "guest memory in `MiB`")
	flags.IntVar(&o.cpus, "cpus", 1, "`NUMBER` of virtual CPUs")
	flags.DurationVar(&o.timeout, "timeout", 0, "kill the machine after this `TIME` (default: never)")
	flags.StringVar(&o.serialLog, "serial-log", "", "write all serial output to `FILE`")
	addEnvironment(cmd)
	return cmd
}

func argsBeforeDash(cmd *cobra.Command, args []string) []string {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		return args[:dash]
	}
	return args
}

func (o *options) check() error {
	switch {
	case o.accel != "auto" && o.accel != string(qemu.KVM) && o.accel != string(qemu.TCG):
		return fmt.Errorf("--accel is %q, want auto, kvm or tcg", o.accel)
	case o.memory < 1:
		return fmt.Errorf("--memory is %d, want at least 1", o.memory)
	case o.cpus < 1:
		return fmt.Errorf("--cpus is %d, want at least 1", o.cpus)
	case o.timeout < 0:
		return fmt.Errorf("--timeout is %v, want a positive time", o.timeout)
	case o.name != "":
		return checkName(o.name)
	}
	return nil
}

func (o *options) run(ctx context.Context, ref string, argv []string, stdout io.Writer) (err error) {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("machine did not end within %v", o.timeout))
		defer cancel()
	}
	if o.name == "" {
		o.name = strings.ToLower("vm-" + rand.Text()[:8])
	}
	state, err := stateDir()
	if err != nil {
		return err
	}
	set, err := openSet(o.manifest)
	if err != nil {
		return err
	}
	dir, release, err := claim(state, o.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	image, err := loadImage(ctx, ref, set)
	if err != nil {
		return err
	}
	config, err := guestConfig(image, argv)
	if err != nil {
		return err
	}
	accel := qemu.Accel(o.accel)
	if o.accel == "auto" {
		if accel, err = qemu.Probe(ctx, set.Arch, set.Kernel, state); err != nil {
			return err
		}
	}
	disks, err := writeDisks(dir, image, config)
	if err != nil {
		return err
	}
	// Nobody but this run writes to this log, so its exit sentinel is this run's.
	serialLog := filepath.Join(dir, "serial.log")
	err = o.record(serialLog, stdout, func(serial io.Writer) error {
		return boot(ctx, vm.Spec{
			Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: set.Initrd, Cmdline: set.CommandLine,
			MemoryMiB: o.memory, CPUs: o.cpus, Disks: disks, CID: guestCID,
			Serial: serial,
		}, accel)
	})
	if err != nil {
		return err
	}
	return outcome(serialLog)
}

// record gives a machine a serial port whose output goes to the log, to
// --serial-log's file and, as far as it is the application's, to stdout.
func (o *options) record(log string, stdout io.Writer, boot func(serial io.Writer) error) (err error) {
	capped, err := vm.OpenSerialLog(log, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, capped.Close()) }()
	output := vm.NewAppOutput(stdout)
	sinks := []*sink{{Writer: capped}, {Writer: output}}
	if o.serialLog != "" {
		whole, err := os.OpenFile(o.serialLog, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("open serial log: %w", err)
		}
		defer func() { err = errors.Join(err, whole.Close()) }()
		sinks = append(sinks, &sink{Writer: whole})
	}
	var writers []io.Writer
	for _, sink := range sinks {
		writers = append(writers, sink)
	}
	if err := boot(io.MultiWriter(writers...)); err != nil {
		return err
	}
	for _, sink := range sinks {
		err = errors.Join(err, sink.err)
	}
	if err == nil {
		err = output.Flush()
	}
	return err
}

// sink is a writer whose failure does not keep the output from others: it gives
// no errors and keeps the first one.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.Writer.Write(p)
	}
	return len(p), nil
}

// outcome is how the application ended, by the serial log.
func outcome(serialLog string) error {
	info, err := vm.ReadExit(serialLog)
	usual := info == contract.NewExitInfo(info.Code) || info == contract.NewPlainExitInfo(info.Code)
	switch {
	case errors.Is(err, vm.ErrNoExit):
		text, err := os.ReadFile(serialLog)
		if err != nil {
			return fmt.Errorf("read serial log: %w", err)
		}
		return fmt.Errorf("machine ended without saying how; --serial-log keeps its output, which ends in\n%s", lastLines(string(text), 20))
	case err != nil:
		return err
	case info.Code == contract.ExitBootFailed && !usual:
		return errors.New(info.Message)
	case info.Code == contract.ExitNotExecutable || info.Code == contract.ExitNotFound || !usual:
		return exitWith(info.Code, info.Message)
	default:
		return exitWith(info.Code, "")
	}
}

// lastLines is the end of a text.
func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// boot runs a machine to its end, which ctx or a second signal can bring about.
func boot(ctx context.Context, spec vm.Spec, accel qemu.Accel) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)
	machine, err := qemu.Start(ctx, spec, accel)
	if err != nil {
		return err
	}
	kill, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(stopGently(ctx, kill, spec.Dir, signals)) })()
	err = machine.Wait(kill)
	return cmp.Or(context.Cause(kill), err)
}

// stopGently asks the guest to stop, unless its time is over, and gives the
// reason to kill it when it has had its chance.
func stopGently(ctx, ended context.Context, dir string, signals <-chan os.Signal) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause
	}
	told := make(chan error, 1)
	go func() { told <- shutDown(ended, dir) }()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	var problem error
	for count := 0; ; {
		select {
		case problem = <-told: // no reason to kill: a guest may end before its answer is out
		case sig := <-signals:
			// The first is the one that ended ctx. SIGHUP does not count: a terminal
			// that goes away sends it on top of others, and more than once.
			if sig != unix.SIGHUP {
				count++
			}
			if count > 1 {
				return fmt.Errorf("%w, then %v", cause, sig)
			}
		case <-timer.C:
			return errors.Join(fmt.Errorf("%w, and the guest did not stop within %v", cause, stopTimeout), problem)
		case <-ended.Done():
			return nil
		}
	}
}

// shutDown asks the guest to stop, as soon as its agent listens.
func shutDown(ctx context.Context, dir string) (err error) {
	client, err := agent.NewHybridClient(qemu.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	return client.Shutdown(ctx, agent.ShutdownOptions{})
}

// openSet opens the artifact set that was built with this program, unless
// another is named.
func openSet(manifest string) (*system.Set, error) {
	if manifest == "" {
		var err error
		manifest, err = runfiles.Rlocation("_main/system/bundle_" + system.GetArch() + "/manifest.json")
		if err != nil {
			return nil, fmt.Errorf("find kernel and initrd; run kindling by bazel or name a manifest with --artifacts: %w", err)
		}
	}
	return system.Open(manifest, system.GetArch())
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
