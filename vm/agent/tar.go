package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// CopyResult is what a copy has moved. What came from a guest is what it claims.
type CopyResult struct {
	Entries int64
	Bytes   int64 // of file content, or of a tar stream that was passed on
	// Skipped has the paths of sockets, and of what went away meanwhile.
	Skipped []string
}

// ExtractTarOptions says what ExtractTar makes.
type ExtractTarOptions struct {
	// Dir is a folder in the guest, made with its parents if it does not exist.
	Dir string
	// Archive is the tar stream. ExtractTar can return before a Read does, which
	// is not interrupted.
	Archive io.Reader
	// KeepOwner gives entries the owners of the archive instead of root.
	KeepOwner bool
	// Progress, if not nil, is called with the bytes of the archive so far.
	Progress func(bytes int64)
}

// ExtractTar makes what a tar stream describes in the guest, below one folder.
// What was made before a failure stays. With an agent of the hypeman agent
// protocol 0.0.7, each entry is a call, everything but files and directories is
// an error, and extended attributes, special bits and the times of directories
// are lost.
func (c *Client) ExtractTar(ctx context.Context, o ExtractTarOptions) (CopyResult, error) {
	result, _, err := c.upload(ctx, o.Dir, o.KeepOwner, func(_ context.Context, w io.Writer) error {
		return relay(w, o.Archive, o.Progress)
	})
	if err != nil {
		return result, fmt.Errorf("extract tar in guest: %w", err)
	}
	return result, nil
}

func relay(w io.Writer, r io.Reader, progress func(int64)) error {
	buf := make([]byte, chunkSize)
	for total := int64(0); ; {
		n, err := r.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if total += int64(n); progress != nil && n > 0 {
			progress(total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
}

// feeder writes a tar stream.
type feeder func(ctx context.Context, w io.Writer) error

// upload sends the tar stream that feed writes. It can return before feed does,
// whose writes fail from then on, and whose end closes fed. That is nil if feed
// was not called.
func (c *Client) upload(ctx context.Context, dir string, keepOwner bool, feed feeder) (_ CopyResult, fed <-chan struct{}, err error) {
	if err := checkPath(dir); err != nil {
		return CopyResult{}, nil, err
	}
	// Asked before, since feed cannot write twice.
	served, err := c.servesTar(ctx)
	if err != nil {
		return CopyResult{}, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // which also ends the call
	ended := make(chan struct{})
	var result CopyResult
	if served {
		result, err = c.uploadStream(ctx, cancel, &guestpb.ExtractTarStart{Path: dir, KeepOwner: keepOwner}, feed, ended)
	} else {
		result, err = c.uploadEntries(ctx, dir, keepOwner, feed, ended)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the status only tells that the call was cancelled
	}
	return result, ended, err
}

// servesTar asks with a call that the agent refuses if it knows it.
func (c *Client) servesTar(ctx context.Context) (bool, error) {
	stream, err := guestpb.NewAgentServiceClient(c.conn).ExtractTar(ctx)
	if err == nil {
		_, err = stream.CloseAndRecv()
	}
	switch status.Code(err) {
	case codes.OK, codes.InvalidArgument:
		return true, nil
	case codes.Unimplemented:
		return false, nil
	}
	return false, err
}

// errCallEnded tells a writer that the call has ended, which Recv tells why.
var errCallEnded = errors.New("call has ended")

func (c *Client) uploadStream(ctx context.Context, cancel context.CancelCauseFunc, start *guestpb.ExtractTarStart,
	feed feeder, fed chan<- struct{},
) (CopyResult, error) {
	stream, err := guestpb.NewAgentServiceClient(c.conn).ExtractTar(ctx)
	if err == nil {
		err = stream.Send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_Start{Start: start}})
	}
	if err != nil && err != io.EOF { // io.EOF leaves the reason to Recv
		close(fed)
		return CopyResult{}, err
	}
	go func() {
		defer close(fed)
		if err := sendTar(ctx, stream, feed); err != nil && !errors.Is(err, errCallEnded) {
			cancel(err)
		}
	}()
	resp := new(guestpb.ExtractTarResponse)
	if err := stream.RecvMsg(resp); err != nil {
		return CopyResult{}, err
	}
	return CopyResult{Entries: resp.GetEntries(), Bytes: resp.GetBytes()}, nil
}

type extractStream = grpc.ClientStreamingClient[guestpb.ExtractTarRequest, guestpb.ExtractTarResponse]

func sendTar(ctx context.Context, stream extractStream, feed feeder) error {
	out := bufio.NewWriterSize(sender(func(data []byte) error {
		return stream.Send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_Data{Data: data}})
	}), chunkSize)
	if err := feed(ctx, out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	err := stream.Send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_End{End: &guestpb.ExtractTarEnd{}}})
	if err == io.EOF {
		return errCallEnded
	}
	return errors.Join(err, stream.CloseSend())
}

// sender makes a stream's send an io.Writer, with messages of limited length.
type sender func(data []byte) error

func (s sender) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n := min(len(b)-sent, chunkSize)
		if err := s(b[sent : sent+n]); err == io.EOF {
			return sent, errCallEnded
		} else if err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}

// DefaultMaxBytes and DefaultMaxEntries bound what is taken from a guest that
// is asked for a copy.
const (
	DefaultMaxBytes   = 1 << 40
	DefaultMaxEntries = 1 << 24
)

// CreateTarOptions says what CreateTar reads.
type CreateTarOptions struct {
	// Path is a file or folder in the guest. Its base name starts the names in
	// the archive; those of / start with nothing.
	Path string
	// FollowLink reads what Path points to if it is a symbolic link. An agent of
	// the hypeman agent protocol 0.0.7 then follows links to files below it, too.
	FollowLink bool
	// Archive gets the tar stream, whose content is the guest's: nobody has
	// looked at it.
	Archive io.Writer
	// MaxBytes bounds the archive; 0 is DefaultMaxBytes.
	MaxBytes int64
	// Progress, if not nil, is called with the bytes of the archive so far.
	Progress func(bytes int64)
}

// CreateTar gets a file or a tree of the guest as a tar stream. After an error,
// what was written is not whole.
func (c *Client) CreateTar(ctx context.Context, o CreateTarOptions) (CopyResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which also ends the call
	in, err := c.download(ctx, o.Path, o.FollowLink, o.MaxBytes)
	var result CopyResult
	switch {
	case errors.Is(err, errNoTar):
		result, err = c.createFromEntries(ctx, o)
	case err == nil:
		err = relay(o.Archive, in, o.Progress)
		result = CopyResult{Entries: in.end.GetEntries(), Bytes: in.bytes, Skipped: in.skipped()}
	}
	if err != nil {
		return result, fmt.Errorf("create tar of %s in guest: %w", printable(o.Path), err)
	}
	return result, nil
}

// errNoTar tells that an agent knows no tar streams.
var errNoTar = errors.New("agent has no tar streams")

// download starts to receive a tar stream.
func (c *Client) download(ctx context.Context, path string, followLink bool, maxBytes int64) (*tarReceiver, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	stream, err := guestpb.NewAgentServiceClient(c.conn).CreateTar(ctx, &guestpb.CreateTarRequest{Path: path, FollowLinks: followLink})
	if err != nil {
		return nil, err
	}
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	r := &tarReceiver{stream: stream, max: maxBytes}
	if err := r.receive(); status.Code(err) == codes.Unimplemented {
		return nil, errNoTar
	} else if err != nil {
		return nil, err
	}
	return r, nil
}

// tarReceiver reads the tar stream of a call. It is at its end where the guest
// says so, and broken where the call ends before.
type tarReceiver struct {
	stream grpc.ServerStreamingClient[guestpb.CreateTarResponse]
	data   []byte
	bytes  int64
	max    int64
	empty  int
	end    *guestpb.CreateTarEnd
}

func (r *tarReceiver) Read(b []byte) (int, error) {
	for len(r.data) == 0 {
		if r.end != nil {
			return 0, io.EOF
		}
		if err := r.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

// maxEmpty bounds messages in which a guest says nothing.
const maxEmpty = 1000

func (r *tarReceiver) receive() error {
	resp, err := r.stream.Recv()
	if err == io.EOF {
		return errors.New("tar stream has ended without its completion marker")
	}
	if err != nil {
		return err
	}
	r.end, r.data = resp.GetEnd(), resp.GetData()
	if r.bytes += int64(len(r.data)); r.bytes > r.max {
		return fmt.Errorf("tar stream has more than %d bytes", r.max)
	}
	if len(r.data) == 0 && r.end == nil {
		if r.empty++; r.empty > maxEmpty {
			return fmt.Errorf("tar stream has more than %d empty messages", maxEmpty)
		}
	}
	return nil
}

func (r *tarReceiver) skipped() []string {
	var paths []string
	for _, path := range r.end.GetSkipped() {
		paths = append(paths, printable(path))
	}
	return paths
}

// baseName is what the agent's names of a copy start with: "." is nothing.
func baseName(source string) string {
	if base := path.Base(path.Clean("/" + source)); base != "/" {
		return base
	}
	return "."
}
