package server

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

type extractStream = grpc.ClientStreamingServer[guestpb.ExtractTarRequest, guestpb.ExtractTarResponse]

// ExtractTar makes what a tar stream describes below one directory, as
// treecopy.ExtractTar does, and answers when it is on the disk. Links are made
// as they are in the stream, but none is followed out of the directory, also
// not an absolute one that points into it.
func (s *service) ExtractTar(stream extractStream) error {
	first, err := stream.Recv()
	if err != nil && err != io.EOF {
		return err
	}
	start := first.GetStart() // nil at the end of the stream, too
	if start == nil {
		return status.Error(codes.InvalidArgument, "first message must be ExtractTarStart")
	}
	summary, err := extract(stream, start)
	if err != nil {
		return copyStatus(fmt.Errorf("extract tar: %w", err))
	}
	return stream.SendAndClose(&guestpb.ExtractTarResponse{Entries: summary.Entries, Bytes: summary.Bytes})
}

func extract(stream extractStream, start *guestpb.ExtractTarStart) (treecopy.ExtractSummary, error) {
	path := absolute(start.GetPath())
	if err := makeDirectories(path, parentAttributes, time.Time{}); err != nil {
		return treecopy.ExtractSummary{}, fmt.Errorf("make folder: %w", err)
	}
	summary, err := treecopy.ExtractTar(stream.Context(), path, &tarReceiver{stream: stream},
		treecopy.ExtractOptions{KeepOwner: start.GetKeepOwner()})
	if err != nil {
		return summary, err
	}
	return summary, syncFileSystem(path)
}

// syncFileSystem costs less for many files than fsync(2) of each.
func syncFileSystem(path string) (err error) {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// tarReceiver reads the data of a call. It is at its end where the caller says
// so, and broken where the call ends before.
type tarReceiver struct {
	stream extractStream
	data   []byte
	ended  bool
}

func (r *tarReceiver) Read(b []byte) (int, error) {
	for len(r.data) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		req, err := r.stream.Recv()
		if err == io.EOF {
			err = fmt.Errorf("call has ended without ExtractTarEnd: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return 0, err
		}
		switch req := req.GetRequest().(type) {
		case *guestpb.ExtractTarRequest_Start:
			return 0, status.Error(codes.InvalidArgument, "a second ExtractTarStart")
		case *guestpb.ExtractTarRequest_Data:
			r.data = req.Data
		case *guestpb.ExtractTarRequest_End:
			r.ended = true
		}
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

// copyStatus is a failure as the status of a call. Its text is UTF-8.
func copyStatus(err error) error {
	code := codes.Unknown
	switch own, isStatus := status.FromError(err); {
	case isStatus:
		code = own.Code()
	case errors.Is(err, fs.ErrNotExist):
		code = codes.NotFound
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		code = codes.ResourceExhausted
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		code = codes.InvalidArgument
	}
	return status.Error(code, text(err))
}

// CreateTar sends a file or a tree as treecopy.WriteTar writes it. The names in
// it start with the base name of the path; below / they start with none.
func (s *service) CreateTar(req *guestpb.CreateTarRequest, stream grpc.ServerStreamingServer[guestpb.CreateTarResponse]) error {
	source := absolute(req.GetPath())
	send := func(data []byte) error {
		return stream.Send(&guestpb.CreateTarResponse{Response: &guestpb.CreateTarResponse_Data{Data: data}})
	}
	out := bufio.NewWriterSize(sender(send), chunkSize)
	summary, err := treecopy.WriteTar(stream.Context(), out, source,
		treecopy.WriteOptions{Name: baseName(source), FollowLink: req.GetFollowLinks()})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return copyStatus(fmt.Errorf("create tar: %w", err))
	}
	end := &guestpb.CreateTarEnd{Entries: summary.Entries}
	for _, path := range summary.Skipped {
		end.Skipped = append(end.Skipped, strings.ToValidUTF8(path, "\uFFFD"))
	}
	return stream.Send(&guestpb.CreateTarResponse{Response: &guestpb.CreateTarResponse_End{End: end}})
}

// sender makes a stream's send an io.Writer, with messages of limited length.
type sender func(data []byte) error

func (s sender) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n := min(len(b)-sent, chunkSize)
		if err := s(b[sent : sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}
