package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/configdisk"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/rootfs"
	"github.com/kindling-vm/kindling/vm/timeline"
)

const (
	// guestCID needs to differ from other machines' only where they share the
	// host kernel's vsock, and none does.
	guestCID = 3

	overlaySize = 1 << 30
)

// request is a machine that a user wants. It goes to another process as JSON.
type request struct {
	setChoice
	Name      string
	Console   bool // print all serial output
	Accel     string
	Memory    int
	CPUs      int
	Timeout   time.Duration
	SerialLog string
	Timeline  string
	Env       []string // as -e has them
	Network   string
	Publish   []string // as -p has them
	Volumes   []string // as -v has them
	Remove    bool     // leave nothing of the machine when it has ended
	Mirrors   []string // of registries
	Progress  string   // as --progress has it

	Snapshot   string // folder that the machine is restored from, "" for one that boots
	Hypervisor string // as --hypervisor has it

	Image   string   // "" is the base system
	Command []string // in place of the image's own, if any
}

func runCommand() *cobra.Command {
	r := request{}
	var detach bool
	cmd := &cobra.Command{
		Use:   "run [flags] [IMAGE] [-- COMMAND [ARG...]]",
		Short: "Run an image in a virtual machine",
		Long: `Run an image in a virtual machine of its own, print what its command prints and
exit with its exit code: 128 plus the number of a signal that killed it, 125
where kindling itself failed.

IMAGE is a folder with an OCI image layout, a file made by docker save, or a
reference in a registry. It can also be a root file system: a folder or a tar,
maybe with gzip or zstd, whose path begins with . or / and which needs COMMAND.
Without IMAGE, the machine runs the small busybox system that its initrd is made
from. COMMAND takes the place of the image's own.

Root disks are kept, by what is in their layers, below KINDLING_CACHE_DIR
(default: $XDG_CACHE_HOME/kindling or ~/.cache/kindling), up to 10 GiB: what was
run before is not pulled again. Credentials for registries are those of docker
login, crane auth login or podman login.

The kernel and initrd are those that were built with kindling, unless --set or
--kernel names an installed artifact set, which stays installed while the machine
runs, or --artifacts one that is not installed.

The first SIGINT (Ctrl-C), SIGTERM or SIGHUP goes to the command; the machine is
killed 5 seconds later, or at the second Ctrl-C. With -d the machine runs on
behind kindling, which prints its name.

A machine that has ended leaves its outcome and its output for kindling ps,
inspect and logs, unless --rm is given; those of the latest 20 are kept. Its
disks are gone. A name can be used again as soon as its machine has ended.

The guest reaches what this host reaches, as 10.0.2.15 behind a router; the
host itself, also what listens on its loopback only, is 10.0.2.2 to the guest.
Nothing reaches the guest but through -p. With --net none it has no network, and
a tap device of this host puts it into a network of the host's:
    --net tap,ifname=NAME,ip=ADDRESS/BITS[,gateway=ADDRESS][,dns=ADDRESS][,mac=MAC]

Machines run under QEMU, or under Cloud Hypervisor where that is installed, KVM
works and the guest needs no user network; --hypervisor settles it.

A volume's SOURCE is a raw disk image with ext4, erofs or squashfs, or a folder,
which the guest gets a copy of. Its mode is
    ro       the guest reads it; what a folder has if no mode is given
    rw       the guest writes to the image; what an image has
    overlay  the guest writes to a layer above it, which ends with the machine`,
		Example: `  kindling run -- echo hello
  kindling run ./image.tar
  kindling run ./rootfs.tar.gz -- /bin/sh -c 'cat /etc/os-release'
  kindling run --name web -d -p 8080:80 registry.example/team/web:1.2 -- httpd -f
  kindling run --set "$(kindling resolve latest)" -- uname -r
  kindling run --rm -e DEBUG=1 -v ./src:/src -- ls /src`,
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
			if err := r.check(); err != nil {
				return usageError{err}
			}
			images := argsBeforeDash(cmd, args)
			r.Image, r.Command = strings.Join(images, ""), args[len(images):]
			return r.start(cmd, detach)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Name, "name", "", "`NAME` of the machine, for kindling exec (default: a random one)")
	addSetChoice(cmd, &r.setChoice)
	flags.StringVar(&r.Accel, "accel", "auto", "run the guest by `HOW`: auto, kvm or tcg (emulation)")
	flags.StringVar(&r.Hypervisor, "hypervisor", hypervisorAuto, "run the machine by `PROGRAM`: auto, cloud-hypervisor or qemu")
	flags.IntVarP(&r.Memory, "memory", "m", 512, "guest memory in `MiB`")
	flags.IntVar(&r.CPUs, "cpus", 1, "`NUMBER` of virtual CPUs")
	flags.StringVar(&r.Timeline, "timeline", "", "write where the time went to `FILE`: a picture, .svg, or a trace, .json")
	flags.StringArrayVarP(&r.Env, "env", "e", nil,
		"set an environment variable, `NAME=VALUE`, or NAME to pass it on; can be repeated")
	flags.StringVar(&r.Network, "net", networkUser, "`NETWORK` of the guest: user, none or tap,OPTION=VALUE...")
	flags.StringArrayVarP(&r.Volumes, "volume", "v", nil,
		"mount a disk image or a copy of a folder, `SOURCE:PATH[:ro|rw|overlay]`; can be repeated")
	flags.StringSliceVar(&r.Mirrors, "mirror", nil, "ask the registry `HOST[/PREFIX]` first; can be repeated")
	addProgressFlag(cmd, &r.Progress)
	addMachineFlags(cmd, &r, &detach)
	addEnvironment(cmd)
	r.settle(cmd)
	return cmd
}

// addMachineFlags gives a command the flags of a machine that boots or is
// restored.
func addMachineFlags(cmd *cobra.Command, r *request, detach *bool) {
	flags := cmd.Flags()
	flags.DurationVar(&r.Timeout, "timeout", 0, "kill the machine after this `TIME` (default: never)")
	flags.BoolVar(&r.Console, "console", false, "print all serial output, of the kernel as well, instead of the command's only")
	flags.StringVar(&r.SerialLog, "serial-log", "", "write all serial output to `FILE`")
	flags.StringArrayVarP(&r.Publish, "publish", "p", nil,
		"forward a port, `[ADDRESS:]HOST:GUEST[/tcp]`, from the host's ADDRESS or 127.0.0.1; can be repeated")
	flags.BoolVar(&r.Remove, "rm", false, "leave no outcome and no output when the machine has ended")
	flags.BoolVarP(detach, "detach", "d", false, "run the machine in the background and print its name")
}

// start runs a machine here or behind this process.
func (r *request) start(cmd *cobra.Command, detach bool) error {
	if r.Name == "" {
		r.Name = strings.ToLower("vm-" + rand.Text()[:8])
	}
	if detach {
		return r.detach(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return r.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), func(string) error { return nil })
}

func argsBeforeDash(cmd *cobra.Command, args []string) []string {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		return args[:dash]
	}
	return args
}

func (r *request) check() error {
	switch {
	case r.Accel != "auto" && r.Accel != string(qemu.KVM) && r.Accel != string(qemu.TCG):
		return fmt.Errorf("--accel is %q, want auto, kvm or tcg", r.Accel)
	case r.Memory < 1:
		return fmt.Errorf("--memory is %d, want at least 1", r.Memory)
	case r.CPUs < 1:
		return fmt.Errorf("--cpus is %d, want at least 1", r.CPUs)
	case r.Timeout < 0:
		return fmt.Errorf("--timeout is %v, want a positive time", r.Timeout)
	case r.Network != networkUser && len(r.Publish) > 0:
		return fmt.Errorf("--publish needs --net user, but --net is %s", r.Network)
	}
	if r.Name != "" {
		if err := checkName(r.Name); err != nil {
			return err
		}
	}
	if err := r.setChoice.check(r.Accel); err != nil {
		return err
	}
	_, progressErr := newRunProgress(r.Progress, io.Discard)
	_, envErr := environment(r.Env)
	_, portErr := parsePublish(r.Publish)
	_, volumeErr := parseVolumes(r.Volumes)
	_, networkErr := parseNetwork(r.Network)
	return errors.Join(progressErr, envErr, portErr, volumeErr, networkErr, r.checkHypervisor(), r.checkTimeline())
}

// run runs a machine to its end and calls started, with the machine's folder,
// when its hypervisor runs.
func (r *request) run(ctx context.Context, stdout, stderr io.Writer, started func(dir string) error) (err error) {
	times := timeline.NewRecorder(time.Now)
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("machine did not end within %v", r.Timeout))
		defer cancel()
	}
	state, err := stateDir()
	if err != nil {
		return err
	}
	opened := times.Begin("artifact set")
	set, giveBack, err := r.open(ctx)
	opened()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, giveBack()) }()
	dir, release, err := claim(state, r.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	accel := qemu.Accel(r.Accel)
	defer func() { err = errors.Join(err, r.writeTimeline(times, accel)) }()
	prepare := r.prepare
	if r.Snapshot != "" {
		prepare = r.prepareRestore
	}
	spec, record, releaseRoot, err := prepare(ctx, dir, set, times, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, releaseRoot()) }()
	probed := times.Begin("KVM probe")
	launcher, err := r.chooseLauncher(ctx, set, spec, state)
	probed()
	if err != nil {
		return err
	}
	accel = launcher.accel
	record.setLauncher(launcher, *spec)
	record.Started = time.Now().UTC()
	if err := record.write(dir); err != nil {
		return err
	}
	// A second signal may come when the machine has ended by the first: it must
	// not end this process before the record says so.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)
	// Nobody but this run writes to this log, so its exit sentinel is this run's.
	err = r.withSerial(dir, stdout, func(serial io.Writer) error {
		spec.Serial = r.watch(times, serial)
		start := func() (vm.Machine, error) { return launcher.start(ctx, *spec) }
		if r.Snapshot != "" {
			start = func() (vm.Machine, error) { return r.restore(ctx, *spec, launcher.accel) }
		}
		launched := times.BeginHypervisor()
		defer times.HypervisorEnded()
		return boot(ctx, dir, record.StopSignal, signals, start, func() error {
			launched()
			return started(dir)
		})
	})
	if err == nil {
		err = outcome(filepath.Join(dir, serialFile))
	}
	record.end(err)
	return errors.Join(err, record.write(dir))
}

// prepare writes a machine's disks, but for the root disk if that is one that
// machines share: releaseRoot is for when the machine has ended.
func (r *request) prepare(
	ctx context.Context, dir string, set *system.Set, times *timeline.Recorder, stderr io.Writer,
) (_ *vm.Spec, _ *record, releaseRoot func() error, err error) {
	forwards, err := parsePublish(r.Publish)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := checkFree(forwards); err != nil {
		return nil, nil, nil, err
	}
	tap, err := r.findTap()
	if err != nil {
		return nil, nil, nil, err
	}
	volumes, err := parseVolumes(r.Volumes)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := settleVolumes(volumes); err != nil {
		return nil, nil, nil, err
	}
	cache, err := openCache()
	if err != nil {
		return nil, nil, nil, err
	}
	loaded := times.Begin("image")
	image, err := loadImage(ctx, r.Image, set, rootfs.Options{Mirrors: r.Mirrors, Documents: cache})
	loaded()
	if err != nil {
		return nil, nil, nil, err
	}
	config, err := r.guestConfig(image)
	if err != nil {
		return nil, nil, nil, err
	}
	written := times.Begin("root disk")
	root, releaseRoot, err := r.rootDisk(ctx, dir, image, cache, stderr)
	written()
	if err != nil {
		return nil, nil, nil, err
	}
	disks, err := writeDisks(ctx, dir, root, config, volumes, times, stderr)
	if err != nil {
		return nil, nil, nil, errors.Join(err, releaseRoot())
	}
	spec := &vm.Spec{
		Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: set.Initrd, Cmdline: set.CommandLine,
		MemoryMiB: r.Memory, CPUs: r.CPUs, Disks: disks, CID: guestCID,
		UserNetwork: r.Network == networkUser, Forwards: forwards, Tap: tap,
	}
	made := newRecord(r, set, spec, config.Argv(), slices.Sorted(maps.Keys(config.Env)), volumes)
	made.StopSignal = stopSignal(image.StopSignal(), config.InitMode, stderr)
	return spec, made, releaseRoot, nil
}

func (r *request) guestConfig(image *rootfs.Image) (*contract.Config, error) {
	command := r.Command
	if r.Image == "" && len(command) == 0 {
		command = baseCommand
	}
	config, err := guestConfig(image, command)
	if err != nil {
		return nil, err
	}
	env, err := environment(r.Env)
	if err != nil {
		return nil, err
	}
	maps.Copy(config.Env, env)
	network, err := parseNetwork(r.Network)
	if err != nil {
		return nil, err
	}
	if network != nil {
		network.apply(config)
	}
	if r.Network == networkUser {
		setUserNetwork(config)
	}
	return config, nil
}

// writeDisks makes the contract's three disks and those of the volumes.
func writeDisks(
	ctx context.Context, dir, root string, config *contract.Config, volumes []volume, times *timeline.Recorder, stderr io.Writer,
) ([]vm.Disk, error) {
	disks := []vm.Disk{
		{Path: root, ReadOnly: true},
		{Path: filepath.Join(dir, "overlay.raw")},
		{Path: filepath.Join(dir, "config.ext4"), ReadOnly: true},
	}
	defer times.Begin("other disks")()
	if err := rootfs.WriteOverlay(disks[1].Path, overlaySize); err != nil {
		return nil, err
	}
	disks, err := addVolumes(ctx, dir, volumes, disks, config, stderr)
	if err != nil {
		return nil, err
	}
	return disks, configdisk.Write(disks[2].Path, config)
}
