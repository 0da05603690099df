package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/vm/agent"
)

func statCommand() *cobra.Command {
	var format *string
	var followLink bool
	cmd := &cobra.Command{
		Use:   "stat [flags] VM:PATH",
		Short: "Describe a file of a running machine",
		Long: `Describe a file of the machine that was given the name VM by kindling run --name.
PATH starts at the machine's /. All of the answer is what the machine claims.

With -o json, an object: path, type (file, folder, link, FIFO, socket, character
device, block device or other), mode (as chmod takes it), size, target (of a
link), and, but from a hypeman agent, modified (RFC 3339), uid, gid, inode,
links. Sizes are in bytes, modes octal numbers in strings. Later versions may
add keys, but take away and change none.

Exit codes are 1 where the file does not exist, 2 and 125 as of kindling.`,
		Example: `  kindling stat web:/etc/hostname
  kindling stat -L -o json web:/etc/localtime`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completePlaces(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parsePlace(args[0])
			if err != nil {
				return err
			}
			if at.machine == "" {
				return usageError{fmt.Errorf("got %q, want VM:PATH", args[0])}
			}
			return withGuest(cmd.Context(), at.machine, func(ctx context.Context, client *agent.Client) error {
				info, err := client.Stat(ctx, at.path, followLink || at.slash)
				if errors.Is(err, fs.ErrNotExist) {
					return pathFailure("%s does not exist", at)
				}
				if err != nil {
					return err
				}
				description := describe(at.path, info)
				return printReport(cmd.OutOrStdout(), *format, description, description.print)
			})
		},
	}
	cmd.Flags().BoolVarP(&followLink, "follow-link", "L", false, "describe what a symbolic link points to")
	format = addOutput(cmd)
	return cmd
}

// fileDescription is what stat says about a file.
type fileDescription struct {
	Path     string  `json:"path"`
	Type     string  `json:"type"`
	Mode     string  `json:"mode"`
	Size     int64   `json:"size"`
	Target   string  `json:"target,omitempty"`
	Modified *string `json:"modified,omitempty"`
	UID      *uint32 `json:"uid,omitempty"`
	GID      *uint32 `json:"gid,omitempty"`
	Inode    *uint64 `json:"inode,omitempty"`
	Links    *uint64 `json:"links,omitempty"`
}

func describe(path string, info *agent.FileInfo) *fileDescription {
	d := &fileDescription{Path: path, Type: typeName(info.Mode), Mode: chmodMode(info.Mode), Size: info.Size, Target: info.LinkTarget}
	if details := info.Details; details != nil {
		modified := details.ModTime.UTC().Format(time.RFC3339Nano)
		d.Modified, d.UID, d.GID, d.Inode, d.Links = &modified, &details.UID, &details.GID, &details.Inode, &details.Links
	}
	return d
}

func typeName(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "folder"
	case mode&fs.ModeSymlink != 0:
		return "link"
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeCharDevice != 0:
		return "character device"
	case mode&fs.ModeDevice != 0:
		return "block device"
	default:
		return "other"
	}
}

// chmodMode is a mode as chmod takes it.
func chmodMode(mode fs.FileMode) string {
	bits := uint32(mode.Perm())
	for _, special := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&special.mode != 0 {
			bits |= special.bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func (d *fileDescription) print(w io.Writer) {
	line := func(name, value string) { fmt.Fprintf(w, "%-9s %s\n", name, value) }
	line("path", printable(d.Path))
	line("type", d.Type)
	line("mode", d.Mode)
	line("size", fmt.Sprint(d.Size))
	if d.Target != "" {
		line("target", printable(d.Target))
	}
	if d.Modified != nil {
		line("modified", *d.Modified)
		line("owner", fmt.Sprintf("%d:%d", *d.UID, *d.GID))
		line("inode", fmt.Sprint(*d.Inode))
		line("links", fmt.Sprint(*d.Links))
	}
}
