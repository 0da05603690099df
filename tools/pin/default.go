package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/lock"
)

func defaultCommand(t *tool) *cobra.Command {
	var change lock.Profile
	cmd := &cobra.Command{
		Use:     "default [flags] PROFILE",
		Short:   "Set the kernel or the base of a profile",
		Example: "  pin default debian --kernel linux-6.1.0-50-cloud",
		Args:    oneName("PROFILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if change == (lock.Profile{}) {
				return usageError{errors.New("want --kernel, --base, or both")}
			}
			return t.setDefault(args[0], change)
		},
	}
	cmd.Flags().StringVar(&change.Kernel, "kernel", "", "`NAME` of the kernel")
	cmd.Flags().StringVar(&change.Base, "base", "", "`NAME` of the base")
	return cmd
}

// setDefault changes what is not empty. A profile that is not there needs both.
func (t *tool) setDefault(name string, change lock.Profile) error {
	file, err := readLock(t.lockPath)
	if err != nil {
		return err
	}
	profile := file.lock.Profiles[name]
	if change.Base != "" {
		profile.Base = change.Base
	}
	if change.Kernel != "" {
		profile.Kernel = change.Kernel
	}
	file.lock.Profiles[name] = profile
	if err := file.write(); err != nil {
		return fmt.Errorf("set profile %s: %w", name, err)
	}
	_, err = fmt.Fprintf(t.stdout, "%s: base %s, kernel %s\n", name, profile.Base, profile.Kernel)
	return err
}
