package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// StatPath describes one path. What goes wrong is in the response.
func (s *service) StatPath(_ context.Context, req *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	path := absolute(req.GetPath())
	flags, op := unix.AT_SYMLINK_NOFOLLOW, "lstat"
	if req.GetFollowLinks() {
		flags, op = 0, "stat"
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, path, &stat, flags); errors.Is(err, fs.ErrNotExist) {
		return &guestpb.StatPathResponse{}, nil
	} else if err != nil {
		return &guestpb.StatPathResponse{Error: text(&fs.PathError{Op: op, Path: path, Err: err})}, nil
	}
	seconds, nanos := stat.Mtim.Unix()
	resp := &guestpb.StatPathResponse{
		Exists:     true,
		IsDir:      stat.Mode&unix.S_IFMT == unix.S_IFDIR,
		IsFile:     stat.Mode&unix.S_IFMT == unix.S_IFREG,
		IsSymlink:  stat.Mode&unix.S_IFMT == unix.S_IFLNK,
		Mode:       stat.Mode & permissionBits,
		Size:       stat.Size,
		UnixMode:   stat.Mode,
		Mtime:      seconds,
		MtimeNanos: uint32(nanos),
		Uid:        stat.Uid,
		Gid:        stat.Gid,
		Inode:      stat.Ino,
		Links:      uint64(stat.Nlink),
	}
	if resp.IsSymlink {
		target, err := os.Readlink(path)
		if err == nil {
			err = requireUTF8("target", target)
		}
		if err != nil {
			resp.Error = text(err)
			return resp, nil
		}
		resp.LinkTarget = target
	}
	return resp, nil
}

// permissionBits are what the hypeman agent protocol knows of a mode.
const permissionBits = 0o777

// absolute makes a path one below /, which is also the agent's own directory.
// The path is not cleaned: behind a link, .. is not what it looks like.
func absolute(path string) string {
	if path == "" || strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

// text is an error as a field of a message, which must be UTF-8.
func text(err error) string {
	return clip(strings.ToValidUTF8(err.Error(), "\uFFFD"))
}

// requireUTF8 is an error for what a message cannot carry.
func requireUTF8(what, value string) error {
	if !utf8.ValidString(value) {
		return fmt.Errorf("%s %q is not UTF-8, which this call cannot carry", what, value)
	}
	return nil
}
