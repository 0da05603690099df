package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/vm/agent"
)

func cpCommand() *cobra.Command {
	var archive, followLink bool
	cmd := &cobra.Command{
		Use:   "cp [flags] SOURCE VM:PATH\n  kindling cp [flags] VM:PATH DESTINATION",
		Short: "Copy files to or from a running machine",
		Long: `Copy a file or a folder to or from the machine that was given the name VM by
kindling run --name. PATH starts at the machine's /. A path of this machine that
has a colon must start with / or a dot.

A destination that is a folder gets the source in it, or, if the source ends in
/., what is in the source. A destination that does not exist becomes a copy of
the source; its parent must exist. Files are replaced, folders are merged.

SOURCE - is a tar stream on standard input, and PATH then a folder that exists.
DESTINATION - is a tar stream on standard output, as the machine makes it.

Modes, times, links, holes and extended attributes are kept. A machine is not
trusted: what it sends stays below DESTINATION, and links out of it, devices and
FIFOs are errors.

Exit codes are 1 where a path is not there or not what it must be, 2 and 125 as
of kindling.`,
		Example: `  kindling cp config.json web:/etc/app/
  kindling cp web:/var/log logs
  tar -c site | kindling cp - web:/srv`,
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: completePlaces(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := parsePlace(args[0])
			if err != nil {
				return err
			}
			to, err := parsePlace(args[1])
			if err != nil {
				return err
			}
			c := &copier{
				cmd: cmd, from: from, to: to, keepOwner: archive, followLink: followLink,
				progress: newProgress(cmd.ErrOrStderr()),
			}
			switch {
			case from.machine == "" && to.machine != "":
				return c.run(to.machine, c.toGuest)
			case from.machine != "" && to.machine == "":
				return c.run(from.machine, c.fromGuest)
			}
			return usageError{fmt.Errorf("got %q and %q, want one of them as VM:PATH", args[0], args[1])}
		},
	}
	cmd.Flags().BoolVarP(&archive, "archive", "a", false, "keep owners, and from a machine set-user-ID bits and all extended attributes too")
	cmd.Flags().BoolVarP(&followLink, "follow-link", "L", false, "copy what the source points to if it is a symbolic link")
	addEnvironment(cmd)
	return cmd
}

// copier is one copy.
type copier struct {
	cmd                   *cobra.Command
	from, to              place
	keepOwner, followLink bool
	progress              *progress
}

func (c *copier) run(machine string, copy func(context.Context, *agent.Client) (agent.CopyResult, error)) error {
	return withGuest(c.cmd.Context(), machine, func(ctx context.Context, client *agent.Client) error {
		result, err := copy(ctx, client)
		c.progress.end()
		for _, path := range result.Skipped {
			fmt.Fprintf(c.cmd.ErrOrStderr(), "kindling: skipped %s, a socket or gone meanwhile\n", printable(path))
		}
		return err
	})
}

func (c *copier) toGuest(ctx context.Context, client *agent.Client) (agent.CopyResult, error) {
	if c.from.path == "-" {
		info, err := c.statGuest(ctx, client, c.to.path)
		if err == nil && !isFolder(info) {
			err = pathFailure("%s is no folder, which a tar stream needs", c.to)
		}
		if err != nil {
			return agent.CopyResult{}, err
		}
		return client.ExtractTar(ctx, agent.ExtractTarOptions{
			Dir: c.to.path, Archive: c.cmd.InOrStdin(), KeepOwner: c.keepOwner, Progress: c.progress.report,
		})
	}
	// A slash behind a link follows it.
	c.followLink = c.followLink || c.from.slash
	stat := os.Lstat
	if c.followLink {
		stat = os.Stat
	}
	source, err := stat(c.from.path)
	if err != nil {
		return agent.CopyResult{}, pathFailure("%v", err)
	}
	if c.from.slash && !source.IsDir() {
		return agent.CopyResult{}, pathFailure("%s is no folder", c.from)
	}
	target, err := c.followInGuest(ctx, client)
	if err != nil {
		return agent.CopyResult{}, err
	}
	name, err := filepath.Abs(c.from.path)
	if err != nil {
		return agent.CopyResult{}, err
	}
	dir, name, err := c.destination(source.IsDir(), filepath.Base(name), target, func(name string) (fs.FileMode, error) {
		info, err := client.Stat(ctx, name, true)
		if err != nil {
			return 0, err
		}
		return info.Mode, nil
	})
	if err != nil {
		return agent.CopyResult{}, err
	}
	return client.CopyTo(ctx, agent.CopyToOptions{
		Source: c.from.path, Dir: dir, Name: name,
		FollowLink: c.followLink, KeepOwner: c.keepOwner, Progress: c.progress.report,
	})
}

func (c *copier) fromGuest(ctx context.Context, client *agent.Client) (agent.CopyResult, error) {
	c.followLink = c.followLink || c.from.slash
	if c.to.path == "-" {
		if isTerminal(c.cmd.OutOrStdout()) {
			return agent.CopyResult{}, usageError{errors.New("standard output is a terminal, which cannot take a tar stream")}
		}
		if _, err := c.statGuest(ctx, client, c.from.path); err != nil {
			return agent.CopyResult{}, err
		}
		return client.CreateTar(ctx, agent.CreateTarOptions{
			Path: c.from.path, FollowLink: c.followLink, Archive: c.cmd.OutOrStdout(), Progress: c.progress.report,
		})
	}
	source, err := c.statGuest(ctx, client, c.from.path)
	if err != nil {
		return agent.CopyResult{}, err
	}
	if c.from.slash && !isFolder(source) {
		return agent.CopyResult{}, pathFailure("%s is no folder", c.from)
	}
	dir, name, err := c.destination(isFolder(source), path.Base(c.from.path), c.to.path, func(name string) (fs.FileMode, error) {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		return info.Mode(), nil
	})
	if err != nil {
		return agent.CopyResult{}, err
	}
	return client.CopyFrom(ctx, agent.CopyFromOptions{
		Source: c.from.path, Dir: dir, Name: name,
		FollowLink: c.followLink, KeepOwner: c.keepOwner, Progress: c.progress.report,
	})
}

func isFolder(info *agent.FileInfo) bool { return info.Mode.IsDir() }

// statGuest describes the path of a machine that the user gave.
func (c *copier) statGuest(ctx context.Context, client *agent.Client, name string) (*agent.FileInfo, error) {
	machine := place{machine: cmp.Or(c.from.machine, c.to.machine), path: name}
	follow := c.from.machine == "" || c.followLink
	info, err := client.Stat(ctx, name, follow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pathFailure("%s does not exist", machine)
	}
	return info, err
}

// maxLinks is how many links in a row are followed, as Linux does.
const maxLinks = 40

// followInGuest gives what the destination in the machine points to. That need
// not exist.
func (c *copier) followInGuest(ctx context.Context, client *agent.Client) (string, error) {
	name := c.to.path
	for range maxLinks {
		info, err := client.Stat(ctx, name, false)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode&fs.ModeSymlink == 0 {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		if path.IsAbs(info.LinkTarget) {
			name = path.Clean(info.LinkTarget)
		} else {
			name = path.Join(path.Dir(name), info.LinkTarget)
		}
	}
	return "", pathFailure("%s has more than %d links", c.to, maxLinks)
}

// destination says in which folder the source gets which name, as docker cp
// does.
func (c *copier) destination(isFolder bool, base, target string, stat func(string) (fs.FileMode, error)) (dir, name string, err error) {
	mode, err := stat(target)
	switch {
	case err == nil && mode.IsDir() && (c.from.dot || base == "/"):
		return target, ".", nil
	case err == nil && mode.IsDir():
		return target, base, nil
	case err == nil && isFolder:
		return "", "", pathFailure("%s is a folder, and %s is none", c.from, c.to)
	case err == nil && c.to.slash:
		return "", "", pathFailure("%s is no folder", c.to)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case err != nil && c.to.slash && !isFolder:
		return "", "", pathFailure("%s does not exist, which must be a folder", c.to)
	}
	dir, name = filepath.Split(target)
	dir = filepath.Clean(dir)
	mode, err = stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !mode.IsDir() {
		return "", "", pathFailure("the folder that %s would be in does not exist", c.to)
	}
	return dir, name, err
}
