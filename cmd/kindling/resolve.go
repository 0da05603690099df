package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
)

func resolveCommand() *cobra.Command {
	var flags *setFlags
	var arch string
	cmd := &cobra.Command{
		Use:   "resolve [flags] ID|latest",
		Short: "Print the ID of an installed artifact set",
		Long: `Print the ID of an installed artifact set, whose files for the architecture are
there and have the right bytes. Resolve latest once, note the ID that it is, and
use that from then on: no other set ever takes its place.

With -o json, an object: id, arch, kernelVersion. Later versions may add keys, but
take away and change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling resolve latest`,
		Args:    usage(oneSet),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			set, err := resolve(cmd.Context(), flags, args[0], arch)
			if err != nil {
				return err
			}
			report := struct {
				ID            string               `json:"id"`
				Arch          string               `json:"arch"`
				KernelVersion system.KernelVersion `json:"kernelVersion"`
			}{set.ID, set.Arch, set.KernelVersion}
			return printReport(cmd.OutOrStdout(), flags.format, report, func(w io.Writer) { fmt.Fprintln(w, set.ID) })
		}),
	}
	addArch(cmd, &arch)
	flags = addSetFlags(cmd)
	return cmd
}

func pathsCommand() *cobra.Command {
	var flags *setFlags
	var arch string
	cmd := &cobra.Command{
		Use:   "paths [flags] ID|latest",
		Short: "Print where the files of an artifact set are",
		Long: `Print where the kernel and initrd of an installed artifact set are, and with which
command line the kernel is to be booted, when they have been verified.

With -o json, an object: id, arch, kernelVersion, agentProtocol, commandLine,
kernel, kernelSha256, initrd, initrdSha256, and where the set has them base and
headers. Later versions may add keys, but take away and change none. Exit codes:
kindling help exit-codes.`,
		Example: `  kindling paths latest
  kindling paths -o json --arch aarch64 latest`,
		Args: usage(oneSet),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			set, err := resolve(cmd.Context(), flags, args[0], arch)
			if err != nil {
				return err
			}
			report := &setPaths{
				ID: set.ID, Arch: set.Arch, KernelVersion: set.KernelVersion,
				AgentProtocol: set.AgentProtocol, CommandLine: set.CommandLine,
				Kernel: set.Kernel, KernelSHA256: set.KernelSHA256, Initrd: set.Initrd, InitrdSHA256: set.InitrdSHA256,
				Base: set.Base, Headers: set.Headers,
			}
			return printReport(cmd.OutOrStdout(), flags.format, report, report.print)
		}),
	}
	addArch(cmd, &arch)
	flags = addSetFlags(cmd)
	return cmd
}

func addArch(cmd *cobra.Command, arch *string) {
	cmd.Flags().StringVar(arch, "arch", "", "the files for `ARCH`, x86_64 or aarch64 (default: this machine's)")
}

func resolve(ctx context.Context, flags *setFlags, name, arch string) (*system.Set, error) {
	arch = cmp.Or(arch, system.GetArch())
	if err := checkArch(arch); err != nil {
		return nil, err
	}
	store, err := flags.store(system.Options{})
	if err != nil {
		return nil, err
	}
	id, err := findSet(ctx, store, name)
	if err != nil {
		return nil, err
	}
	return store.Resolve(ctx, id, arch)
}

// setPaths is what paths says about a set.
type setPaths struct {
	ID            string               `json:"id"`
	Arch          string               `json:"arch"`
	KernelVersion system.KernelVersion `json:"kernelVersion"`
	AgentProtocol string               `json:"agentProtocol"`
	CommandLine   string               `json:"commandLine"`
	Kernel        string               `json:"kernel"`
	KernelSHA256  string               `json:"kernelSha256"`
	Initrd        string               `json:"initrd"`
	InitrdSHA256  string               `json:"initrdSha256"`
	Base          string               `json:"base,omitempty"`
	Headers       string               `json:"headers,omitempty"`
}

func (p *setPaths) print(w io.Writer) {
	for _, line := range []struct{ name, value string }{
		{"kernel", p.Kernel}, {"initrd", p.Initrd}, {"base", p.Base}, {"headers", p.Headers}, {"command line", p.CommandLine},
	} {
		if line.value != "" {
			fmt.Fprintf(w, "%-12s  %s\n", line.name, printable(line.value))
		}
	}
}
