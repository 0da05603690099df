package agent

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

// CopyToOptions says what CopyTo copies where.
type CopyToOptions struct {
	// Source is a file or folder on this machine.
	Source string
	// Dir is a folder in the guest.
	Dir string
	// Name is what the source becomes in Dir. "." puts what is in the folder
	// Source into Dir itself.
	Name string
	// FollowLink copies what Source points to if it is a symbolic link. Links
	// below it stay links.
	FollowLink bool
	// KeepOwner gives what is made the source's owners instead of root.
	KeepOwner bool
	// Progress, if not nil, is called with the bytes of content so far.
	Progress func(bytes int64)
}

// CopyTo copies a file or a tree into the guest. Files there are replaced,
// folders stay. Modes, times, links, holes, extended attributes (user.*,
// capabilities, ACLs) and hard links come along; with an agent of the hypeman
// agent protocol 0.0.7, what ExtractTar says of it.
func (c *Client) CopyTo(ctx context.Context, o CopyToOptions) (CopyResult, error) {
	var written treecopy.WriteSummary
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result, fed, err := c.upload(ctx, o.Dir, o.KeepOwner, func(ctx context.Context, w io.Writer) (err error) {
		written, err = treecopy.WriteTar(ctx, w, o.Source,
			treecopy.WriteOptions{Name: o.Name, FollowLink: o.FollowLink, Progress: o.Progress})
		return err
	})
	if fed != nil {
		cancel()
		<-fed // the source is not read any more
		result.Skipped = written.Skipped
	}
	if err != nil {
		return result, fmt.Errorf("copy %s to guest: %w", o.Source, err)
	}
	if result.Entries != written.Entries || result.Bytes != written.Bytes {
		return result, fmt.Errorf("copy %s to guest: guest made %d entries with %d bytes, want %d with %d",
			o.Source, result.Entries, result.Bytes, written.Entries, written.Bytes)
	}
	return result, nil
}

// uploadEntries makes each entry of a tar stream by a call of its own.
func (c *Client) uploadEntries(ctx context.Context, dir string, keepOwner bool, feed feeder, fed chan<- struct{}) (result CopyResult, err error) {
	r, w := io.Pipe()
	go func() {
		defer close(fed)
		_ = w.CloseWithError(feed(ctx, w))
	}()
	defer func() { err = errors.Join(err, r.CloseWithError(errCallEnded)) }()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, r) // padding
			return result, err
		}
		if err != nil {
			return result, fmt.Errorf("read tar stream: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if err := treecopy.CheckGlobal(h); err != nil {
				return result, err
			}
			continue
		}
		if err := c.putEntry(ctx, dir, h, keepOwner, archive); err != nil {
			return result, fmt.Errorf("%.300q: %w", h.Name, err)
		}
		result.Entries++
		if h.Typeflag == tar.TypeReg {
			result.Bytes += h.Size
		}
	}
}

// putEntry makes a file or a directory with CopyToGuest.
func (c *Client) putEntry(ctx context.Context, dir string, h *tar.Header, keepOwner bool, content io.Reader) error {
	name := path.Clean(h.Name)
	switch {
	case path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../"):
		return errors.New("name is outside of the destination")
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
		return fmt.Errorf("agent makes files and directories only, not type %q", h.Typeflag)
	case h.Mode < 0 || h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > math.MaxUint32 || int64(h.Gid) > math.MaxUint32:
		return fmt.Errorf("mode %#o or owner %d:%d is out of range", h.Mode, h.Uid, h.Gid)
	case keepOwner && (h.Uid == 0) != (h.Gid == 0):
		return fmt.Errorf("agent cannot set owner %d:%d", h.Uid, h.Gid)
	}
	start := &guestpb.CopyToGuestStart{
		Path:  path.Join(dir, name),
		Mode:  uint32(h.Mode & 0o7777),
		IsDir: h.Typeflag == tar.TypeDir,
		Size:  h.Size,
		Mtime: h.ModTime.Unix(),
	}
	if keepOwner {
		start.Uid, start.Gid, start.SetOwner = uint32(h.Uid), uint32(h.Gid), true
	}
	if err := checkPath(start.Path); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the call if it is not at its end
	stream, err := c.guest.CopyToGuest(ctx)
	if err != nil {
		return err
	}
	send := func(req *guestpb.CopyToGuestRequest) error { return stream.Send(req) }
	err = send(&guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Start{Start: start}})
	if err == nil && !start.IsDir {
		err = relay(sender(func(data []byte) error {
			return send(&guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Data{Data: data}})
		}), content, nil)
	}
	if err == nil {
		err = send(&guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_End{End: &guestpb.CopyToGuestEnd{}}})
	}
	if err != nil && err != io.EOF && !errors.Is(err, errCallEnded) {
		return err
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if !resp.GetSuccess() {
		return errors.New(printable(resp.GetError()))
	}
	if !start.IsDir && resp.GetBytesWritten() != h.Size {
		return fmt.Errorf("guest wrote %d bytes, want %d", resp.GetBytesWritten(), h.Size)
	}
	return nil
}
