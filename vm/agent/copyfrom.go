package agent

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

// CopyFromOptions says what CopyFrom copies where.
type CopyFromOptions struct {
	// Source is a file or folder in the guest.
	Source string
	// Dir is a folder on this machine, below which everything is made.
	Dir string
	// Name is what the source becomes in Dir. "." puts what is in the folder
	// Source into Dir itself.
	Name string
	// FollowLink copies what Source points to if it is a symbolic link. With an
	// agent of the hypeman agent protocol 0.0.7, links to files below it are
	// followed, too.
	FollowLink bool
	// KeepOwner keeps what the guest says of owners, set-user-ID and set-group-ID
	// bits and extended attributes. Without it, all belongs to this process's
	// user and has of these the attributes of user.* only.
	KeepOwner bool
	// MaxBytes and MaxEntries bound what is made; 0 is DefaultMaxBytes and
	// DefaultMaxEntries.
	MaxBytes, MaxEntries int64
	// Progress, if not nil, is called with the bytes of content so far.
	Progress func(bytes int64)
}

// CopyFrom copies a file or a tree out of the guest, which is not trusted to
// send what was asked for: nothing is made outside of Dir, no link on the way is
// followed, and links that could lead out, devices and FIFOs are errors. What
// was made before an error stays, but each file is whole.
func (c *Client) CopyFrom(ctx context.Context, o CopyFromOptions) (CopyResult, error) {
	result, err := c.copyFrom(ctx, o)
	if err != nil {
		return result, fmt.Errorf("copy %s from guest: %w", printable(o.Source), err)
	}
	return result, nil
}

func (c *Client) copyFrom(ctx context.Context, o CopyFromOptions) (result CopyResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which also ends the call
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	extract := treecopy.ExtractOptions{
		KeepOwner: o.KeepOwner, Guarded: true,
		MaxBytes: o.MaxBytes, MaxEntries: cmp.Or(o.MaxEntries, DefaultMaxEntries),
		Rename: rebase(baseName(o.Source), o.Name), Progress: o.Progress,
	}
	var made treecopy.ExtractSummary
	in, err := c.download(ctx, o.Source, o.FollowLink, o.MaxBytes)
	switch {
	case errors.Is(err, errNoTar):
		made, err = c.extractEntries(ctx, o, extract)
	case err == nil:
		made, err = treecopy.ExtractTar(ctx, o.Dir, in, extract)
		result.Skipped = in.skipped()
	}
	if err == nil && made.Entries == 0 && len(result.Skipped) == 0 {
		err = errors.New("guest sent nothing")
	}
	result.Entries, result.Bytes = made.Entries, made.Bytes
	return result, err
}

// rebase makes names that start with from ones that start with to.
func rebase(from, to string) func(string) (string, error) {
	return func(name string) (string, error) {
		rest, below := strings.CutPrefix(name, from+"/")
		switch {
		case from == ".":
			return path.Join(to, name), nil
		case name == from:
			return to, nil
		case below:
			return path.Join(to, rest), nil
		}
		return "", fmt.Errorf("guest sent the name %.300q, want one that starts with %.300q", name, from)
	}
}

// extractEntries makes what CopyFromGuest sends.
func (c *Client) extractEntries(ctx context.Context, o CopyFromOptions, extract treecopy.ExtractOptions) (_ treecopy.ExtractSummary, err error) {
	entries, err := c.receiveEntries(ctx, o.Source, o.FollowLink)
	if err != nil {
		return treecopy.ExtractSummary{}, err
	}
	x, err := treecopy.NewExtractor(o.Dir, extract)
	if err != nil {
		return treecopy.ExtractSummary{}, err
	}
	err = entries.each(func(h *tar.Header) error { return x.Put(ctx, h, entries) })
	err = errors.Join(err, x.Close())
	return x.Summary(), err
}

// createFromEntries writes what CopyFromGuest sends as a tar stream.
func (c *Client) createFromEntries(ctx context.Context, o CreateTarOptions) (result CopyResult, err error) {
	entries, err := c.receiveEntries(ctx, o.Path, o.FollowLink)
	if err != nil {
		return result, err
	}
	limit := cmp.Or(o.MaxBytes, DefaultMaxBytes)
	out := tar.NewWriter(writer(func(b []byte) error {
		if result.Bytes += int64(len(b)); result.Bytes > limit {
			return fmt.Errorf("tar stream has more than %d bytes", limit)
		}
		_, err := o.Archive.Write(b)
		if err == nil && o.Progress != nil {
			o.Progress(result.Bytes)
		}
		return err
	}))
	err = entries.each(func(h *tar.Header) error {
		result.Entries++
		if err := out.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		_, err := io.Copy(out, entries)
		return err
	})
	if err == nil {
		err = out.Close()
	}
	return result, err
}

// writer makes a function an io.Writer.
type writer func([]byte) error

func (w writer) Write(b []byte) (int, error) {
	if err := w(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// receiveEntries starts to receive what CopyFromGuest sends.
func (c *Client) receiveEntries(ctx context.Context, path string, followLinks bool) (*entryReceiver, error) {
	stream, err := c.guest.CopyFromGuest(ctx, &guestpb.CopyFromGuestRequest{Path: path, FollowLinks: followLinks})
	if err != nil {
		return nil, err
	}
	return &entryReceiver{stream: stream, ofRoot: baseName(path) == "."}, nil
}

// entryReceiver reads the entries of CopyFromGuest, and as an io.Reader the
// content of the one that was read last.
type entryReceiver struct {
	stream grpc.ServerStreamingClient[guestpb.CopyFromGuestResponse]
	ofRoot bool                         // / was asked for
	header *guestpb.CopyFromGuestHeader // of the entry that has no end yet
	next   *guestpb.CopyFromGuestHeader // received already, of the entry behind it
	data   []byte
	size   int64 // of data received for the entry
	empty  int
	final  bool
}

// each calls use for every entry. It ends at the final marker: what a guest
// sends behind it is not waited for.
func (r *entryReceiver) each(use func(*tar.Header) error) error {
	for !r.final {
		if r.next == nil {
			if err := r.receive(); err != nil {
				return err
			}
		}
		r.header, r.next, r.size = r.next, nil, 0
		h, err := r.tarHeader()
		if err == nil {
			err = use(h)
		}
		if err != nil {
			return err
		}
		// Directories and links have no content, but an end.
		if _, err := r.Read(nil); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// Read reads the content of the current entry.
func (r *entryReceiver) Read(b []byte) (int, error) {
	for len(r.data) == 0 {
		if r.header == nil {
			return 0, io.EOF
		}
		if err := r.receive(); err != nil {
			return 0, err
		}
		if r.next == nil {
			continue
		}
		if !r.header.GetIsSymlink() {
			return 0, fmt.Errorf("guest sent the next header before the end of %.300q", r.header.GetPath())
		}
		r.header = nil // some agents send no end for a link
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

// receive takes one message.
func (r *entryReceiver) receive() error {
	resp, err := r.stream.Recv()
	if err == io.EOF {
		return errors.New("copy stream ended without completion marker")
	}
	if err != nil {
		return err
	}
	switch resp := resp.GetResponse().(type) {
	case *guestpb.CopyFromGuestResponse_Header:
		r.next = resp.Header
		return nil
	case *guestpb.CopyFromGuestResponse_Error:
		return fmt.Errorf("%s: %s", printable(resp.Error.GetPath()), printable(resp.Error.GetMessage()))
	}
	if r.header == nil {
		return errors.New("guest sent data or an end without a header")
	}
	if end := resp.GetEnd(); end != nil {
		r.header, r.final = nil, end.GetFinal()
		return nil
	}
	if r.header.GetIsDir() || r.header.GetIsSymlink() {
		return fmt.Errorf("guest sent content of %.300q, which is no file", r.header.GetPath())
	}
	r.data = resp.GetData()
	if r.size += int64(len(r.data)); r.header.GetSize() > 0 && r.size > r.header.GetSize() {
		return fmt.Errorf("guest sent more of %.300q than the %d bytes it has", r.header.GetPath(), r.header.GetSize())
	}
	if len(r.data) == 0 {
		if r.empty++; r.empty > maxEmpty {
			return fmt.Errorf("guest sent more than %d empty messages", maxEmpty)
		}
	}
	return nil
}

// tarHeader makes the current entry one of a tar stream.
func (r *entryReceiver) tarHeader() (*tar.Header, error) {
	h, name := r.header, r.header.GetPath()
	if r.ofRoot { // agents of 0.0.7 start all names with / then
		name = cmp.Or(strings.TrimPrefix(name, "/"), ".")
	}
	switch {
	case h.GetSize() < 0:
		return nil, fmt.Errorf("guest claims a size of %d for %.300q", h.GetSize(), name)
	case h.GetMode() > 0o7777:
		return nil, fmt.Errorf("guest claims a mode of %#o for %.300q", h.GetMode(), name)
	case h.GetIsDir() && h.GetIsSymlink():
		return nil, fmt.Errorf("guest claims that %.300q is a directory and a link", name)
	}
	own := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Mode:     int64(h.GetMode() | h.GetUnixMode()&0o7000),
		Uid:      int(h.GetUid()), Gid: int(h.GetGid()),
		Size:    h.GetSize(),
		ModTime: time.Unix(h.GetMtime(), 0),
	}
	switch {
	case h.GetIsDir():
		own.Typeflag, own.Size = tar.TypeDir, 0
		own.Name += "/"
	case h.GetIsSymlink():
		own.Typeflag, own.Size, own.Linkname = tar.TypeSymlink, 0, h.GetLinkTarget()
	}
	return own, nil
}
