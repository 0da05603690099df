package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/kindling-vm/kindling/internal/treecopy"
	"github.com/kindling-vm/kindling/vm/internal/ext4"
)

// WriteFolder writes what a folder holds into a read-only ext4 disk, with
// owners, modes, links and times as they are. Only its owner may read it. The
// file at path appears complete or not at all; it must not be below the folder.
//
// Skipped are the paths of sockets, and of what went away meanwhile. What ext4
// cannot hold is as WriteDisk has it.
func WriteFolder(ctx context.Context, path, folder string) (skipped []string, err error) {
	if info, err := os.Stat(folder); err != nil {
		return nil, fmt.Errorf("write disk of folder: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("write disk of folder: %s is not a folder", folder)
	}
	err = ext4.FromTar(path, 0o600, 0, func(w io.Writer) error {
		summary, err := treecopy.WriteTar(ctx, w, folder, treecopy.WriteOptions{Name: ".", FollowLink: true})
		skipped = summary.Skipped
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("write disk of folder %s: %w", folder, err)
	}
	return skipped, nil
}
