package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
	"github.com/kindling-vm/kindling/tools/pin/internal/github"
)

// tool is what all verbs share.
type tool struct {
	client         *fetch.Client
	stdout, stderr io.Writer
	lockPath       string
	githubAPI      string
}

func rootCommand(t *tool) *cobra.Command {
	var progress string
	root := &cobra.Command{
		Use:   "pin",
		Short: "Keep the digests of artifacts.lock.json",
		Long: `Keep the digests of artifacts.lock.json.

The lock is written only when all went well, and only if something changed.
Exit codes are 1 for an error or a difference, 2 for a wrong command line.
Proxies come from HTTPS_PROXY and NO_PROXY, the Debian mirror from DEBIAN_MIRROR
or apt.`,
		Example: `  tools/bazel run //tools/pin -- update ch-6.12.8-kernel-1.4-202602101 --arch x86_64
  tools/bazel run //tools/pin -- check`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              usage(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return t.setUp(progress) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&t.lockPath, "lock", "", "lock `FILE` (default: system/artifacts.lock.json of the workspace)")
	flags.StringVar(&progress, "progress", "auto", "`HOW` to show downloads: auto, plain or quiet")
	flags.BoolVar(&t.client.AllowHTTPLoopback, "allow-http-loopback", false, "allow http from this machine, as stand-ins are served")
	flags.StringVar(&t.githubAPI, "github-api", github.DefaultAPI, "`URL` of GitHub's API, as GitHub Enterprise has its own")
	root.AddCommand(addCommand(t), updateCommand(t), checkCommand(t), defaultCommand(t))
	return root
}

// setUp turns the flags of all verbs into what they mean.
func (t *tool) setUp(progress string) error {
	switch progress {
	case "auto", "plain":
		t.client.Progress = fetch.Progress{W: t.stderr, Terminal: progress == "auto" && isTerminal(t.stderr)}
	case "quiet":
	default:
		return usageError{fmt.Errorf("--progress is %q, want auto, plain or quiet", progress)}
	}
	if t.lockPath != "" {
		return nil
	}
	workspace := os.Getenv("BUILD_WORKSPACE_DIRECTORY")
	if workspace == "" {
		return usageError{errors.New("no lock: want --lock FILE, or to be run by bazel run")}
	}
	t.lockPath = filepath.Join(workspace, "system", "artifacts.lock.json")
	return nil
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

// usage makes the error of an argument check a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// oneName takes a single argument, what.
func oneName(what string) cobra.PositionalArgs {
	return usage(func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("got %q, want one %s", args, what)
		}
		return nil
	})
}

// need refuses a command line without a flag.
func need(cmd *cobra.Command, flags ...string) error {
	for _, flag := range flags {
		if cmd.Flags().Lookup(flag).Value.String() == "" {
			return usageError{fmt.Errorf("--%s is missing", flag)}
		}
	}
	return nil
}
