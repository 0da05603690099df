package server

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

type copyFromStream = grpc.ServerStreamingServer[guestpb.CopyFromGuestResponse]

// CopyFromGuest sends a file or a tree while it walks it. What cannot be read is
// a message and the rest follows, but for a file that fails in its middle, which
// ends the stream without its final marker. FIFOs, devices and sockets are such
// messages and never opened, and so are names that are not UTF-8.
//
// A directory that a link below the source points to is sent but not entered.
// No more of a file is sent than its header says, unless that says 0, as of the
// files of /proc.
func (s *service) CopyFromGuest(req *guestpb.CopyFromGuestRequest, stream copyFromStream) error {
	source := absolute(req.GetPath())
	follow := treecopy.FollowNone
	if req.GetFollowLinks() {
		follow = treecopy.FollowFiles
	}
	// The name that entries start with; a host joins it to its destination.
	base := baseName(source)
	if strings.HasSuffix(source, "/.") {
		base = "." // what is in the source, as hosts mean it
	}
	sender := &treeSender{stream: stream, base: base, buf: make([]byte, chunkSize)}
	err := treecopy.Walk(stream.Context(), source, follow, sender.visit)
	if errors.Is(err, errEntryBroken) {
		return nil
	}
	if err != nil {
		return err
	}
	return sender.end(true)
}

// baseName is what the names of a copy start with.
func baseName(source string) string {
	if base := path.Base(path.Clean(source)); base != "/" {
		return base
	}
	return "."
}

// errEntryBroken ends a walk of which the host knows already that it failed.
var errEntryBroken = errors.New("the entry's data is not whole")

// treeSender sends entries.
type treeSender struct {
	stream  copyFromStream
	base    string
	buf     []byte
	pending bool // the last entry has no end yet, since it may be the final one
}

func (t *treeSender) visit(e *treecopy.Entry, err error) error {
	if err != nil {
		return t.fail(e, err)
	}
	header := &guestpb.CopyFromGuestHeader{Path: path.Join(t.base, e.Name)}
	var file *treecopy.Reader
	switch e.Stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		header.IsDir = true
	case unix.S_IFLNK:
		header.IsSymlink = true
		header.LinkTarget, err = e.ReadLink()
		err = errors.Join(err, requireUTF8("target", header.LinkTarget))
	default:
		file, err = e.Open()
	}
	if err = errors.Join(err, requireUTF8("name", header.Path)); err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return t.fail(e, err)
	}
	header.Mode = e.Stat.Mode & permissionBits
	header.Size = e.Stat.Size
	header.Mtime, _ = e.Stat.Mtim.Unix()
	header.Uid, header.Gid = e.Stat.Uid, e.Stat.Gid
	header.UnixMode = e.Stat.Mode
	err = t.sendEntry(e, header, file)
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	return err
}

func (t *treeSender) sendEntry(e *treecopy.Entry, header *guestpb.CopyFromGuestHeader, file *treecopy.Reader) error {
	if err := t.end(false); err != nil {
		return err
	}
	err := t.stream.Send(&guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Header{Header: header}})
	if err != nil {
		return err
	}
	t.pending = true
	if file == nil {
		return nil
	}
	content := io.Reader(file)
	if header.GetSize() > 0 {
		content = io.LimitReader(file, header.GetSize())
	}
	for {
		n, err := content.Read(t.buf)
		if n > 0 {
			data := &guestpb.CopyFromGuestResponse_Data{Data: t.buf[:n]}
			if err := t.stream.Send(&guestpb.CopyFromGuestResponse{Response: data}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errors.Join(t.fail(e, err), errEntryBroken)
		}
	}
}

// end ends the last entry, if there is one.
func (t *treeSender) end(final bool) error {
	if !t.pending {
		return nil
	}
	t.pending = false
	end := &guestpb.CopyFromGuestResponse_End{End: &guestpb.CopyFromGuestEnd{Final: final}}
	return t.stream.Send(&guestpb.CopyFromGuestResponse{Response: end})
}

// fail tells of an entry that is not sent.
func (t *treeSender) fail(e *treecopy.Entry, err error) error {
	message := err
	// Hosts show the path themselves.
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && pathErr.Op == "stat" {
		message = errors.New("stat: " + pathErr.Err.Error())
	}
	failure := &guestpb.CopyFromGuestResponse_Error{Error: &guestpb.CopyFromGuestError{
		Message: text(message), Path: text(errors.New(e.Path)),
	}}
	return t.stream.Send(&guestpb.CopyFromGuestResponse{Response: failure})
}
