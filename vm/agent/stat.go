package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// FileInfo is what a guest claims of a path.
type FileInfo struct {
	Mode       fs.FileMode // type, permission and special bits
	Size       int64       // in bytes
	LinkTarget string      // of a symbolic link
	// Details are nil from an agent of the hypeman agent protocol 0.0.7. It also
	// tells of no type but files, directories and links: everything else is
	// fs.ModeIrregular.
	Details *FileDetails
}

// FileDetails is what Kindling's agent tells of a path, too.
type FileDetails struct {
	ModTime  time.Time
	UID, GID uint32
	Inode    uint64
	Links    uint64 // hard links
}

// Stat describes a path in the guest, or, with follow, what it points to if it
// is a symbolic link. If it does not exist, the error is fs.ErrNotExist.
func (c *Client) Stat(ctx context.Context, path string, follow bool) (*FileInfo, error) {
	info, err := c.stat(ctx, path, follow)
	if err != nil {
		return nil, fmt.Errorf("stat %s in guest: %w", printable(path), err)
	}
	return info, nil
}

func (c *Client) stat(ctx context.Context, path string, follow bool) (*FileInfo, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	resp, err := c.guest.StatPath(ctx, &guestpb.StatPathRequest{Path: path, FollowLinks: follow})
	switch {
	case err != nil:
		return nil, err
	case resp.GetError() != "":
		return nil, errors.New(printable(resp.GetError()))
	case !resp.GetExists():
		return nil, fs.ErrNotExist
	case resp.GetSize() < 0:
		return nil, fmt.Errorf("guest claims a size of %d", resp.GetSize())
	case len(resp.GetLinkTarget()) > maxPath:
		return nil, fmt.Errorf("guest claims a link target of %d bytes", len(resp.GetLinkTarget()))
	}
	info := &FileInfo{Mode: fs.FileMode(resp.GetMode()).Perm(), Size: resp.GetSize(), LinkTarget: resp.GetLinkTarget()}
	switch {
	case resp.GetUnixMode() != 0:
		info.Mode = fileMode(resp.GetUnixMode())
		info.Details = &FileDetails{
			ModTime: time.Unix(resp.GetMtime(), int64(resp.GetMtimeNanos())),
			UID:     resp.GetUid(), GID: resp.GetGid(), Inode: resp.GetInode(), Links: resp.GetLinks(),
		}
	case resp.GetIsSymlink():
		info.Mode |= fs.ModeSymlink
	case resp.GetIsDir():
		info.Mode |= fs.ModeDir
	case !resp.GetIsFile():
		info.Mode |= fs.ModeIrregular
	}
	return info, nil
}

// maxPath bounds a path, in bytes: PATH_MAX of Linux without the NUL.
const maxPath = 4095

// checkPath is an error for what a message cannot carry.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("path is empty")
	case len(path) > maxPath:
		return fmt.Errorf("path has %d bytes, want at most %d", len(path), maxPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("path %q is not UTF-8, which the agent protocol cannot carry", path)
	case strings.Contains(path, "\x00"):
		return fmt.Errorf("path %q has a NUL", path)
	}
	return nil
}

// fileMode is the mode of stat(2) as Go has it.
func fileMode(unixMode uint32) fs.FileMode {
	mode := fs.FileMode(unixMode & 0o777)
	switch unixMode & 0o170000 { // S_IFMT
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o100000:
	case 0o060000:
		mode |= fs.ModeDevice
	case 0o040000:
		mode |= fs.ModeDir
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0o010000:
		mode |= fs.ModeNamedPipe
	default:
		mode |= fs.ModeIrregular
	}
	for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if unixMode&bit != 0 {
			mode |= special
		}
	}
	return mode
}

// printable makes a guest's text one that may be shown.
func printable(text string) string { return clean(text, 1<<10) }
