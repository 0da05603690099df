package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// setChoice says what artifact set a machine boots: that of a manifest, an
// installed one, or, by default, the one that was built with this program.
type setChoice struct {
	Manifest string
	Set      string // ID
	Kernel   string // version: the set with it that was installed last
	DataDir  string
	Arch     string
}

// setFlagNames are the flags of which only one can be given.
var setFlagNames = []string{"artifacts", "set", "kernel"}

// addSetChoice gives a command its flags. They get their environment variables
// from addEnvironment, which must come behind this, and settle behind that.
func addSetChoice(cmd *cobra.Command, s *setChoice) {
	flags := cmd.Flags()
	flags.StringVar(&s.Manifest, "artifacts", "", "manifest `FILE` of the kernel and initrd (default: those built with kindling)")
	flags.StringVar(&s.Set, "set", "", "boot the installed artifact set with this `ID`, or latest")
	flags.StringVar(&s.Kernel, "kernel", "", "boot the set with this kernel `VERSION` that was installed last")
	flags.StringVar(&s.Arch, "arch", "", "guest `ARCH`, x86_64 or aarch64; another than this machine's is emulated (default: this machine's)")
	addDataDir(cmd, &s.DataDir)
}

// settle refuses two choices. One on the command line wins over others of the
// environment.
func (s *setChoice) settle(cmd *cobra.Command) {
	given := func() (names []string) {
		for _, name := range setFlagNames {
			if cmd.Flags().Changed(name) {
				names = append(names, name)
			}
		}
		return names
	}
	fromEnvironment := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		chosen := given()
		if err := fromEnvironment(cmd, args); err != nil {
			return err
		}
		if len(chosen) == 0 {
			chosen = given()
		}
		if len(chosen) > 1 {
			return usageError{fmt.Errorf("--%s: want one of them", strings.Join(chosen, " and --"))}
		}
		s.Arch = cmp.Or(s.Arch, system.GetArch())
		for _, name := range given() {
			if name == chosen[0] {
				continue
			}
			if err := cmd.Flags().Set(name, ""); err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *setChoice) check(accel string) error {
	if err := checkArch(s.Arch); err != nil {
		return err
	}
	if accel == string(qemu.KVM) && s.Arch != system.GetArch() {
		return fmt.Errorf("--accel kvm runs guests for %s only, and --arch is %s", system.GetArch(), s.Arch)
	}
	if s.Set != "" {
		return checkSetName(s.Set)
	}
	return nil
}

// open opens the set. An installed one stays installed until release, or until
// this process ends.
func (s *setChoice) open(ctx context.Context) (set *system.Set, release func() error, err error) {
	if s.Set == "" && s.Kernel == "" {
		manifest := s.Manifest
		if manifest == "" {
			if manifest, err = builtSet(s.Arch); err != nil {
				return nil, nil, err
			}
		}
		set, err = system.Open(manifest, s.Arch)
		return set, func() error { return nil }, err
	}
	dir, err := dataDir(s.DataDir, os.Geteuid())
	if err != nil {
		return nil, nil, err
	}
	store := system.NewStore(dir, system.Options{})
	var id string
	if s.Kernel != "" {
		id, err = store.LatestWithKernel(ctx, system.KernelVersion(s.Kernel), s.Arch)
	} else {
		id, err = findSet(ctx, store, s.Set)
	}
	if err != nil {
		return nil, nil, err
	}
	held, err := store.Hold(ctx, id, s.Arch)
	if err != nil {
		return nil, nil, err
	}
	return held.Set, held.Close, nil
}

// builtSet is the manifest of the artifact set that was built with this program.
func builtSet(arch string) (string, error) {
	manifest, err := runfiles.Rlocation("_main/system/bundle_" + arch + "/manifest.json")
	if err == nil {
		if _, err = os.Stat(manifest); err == nil {
			return manifest, nil
		}
	}
	return "", fmt.Errorf("find kernel and initrd for %s; run kindling by bazel or name a set with --artifacts, --set or --kernel: %w", arch, err)
}
