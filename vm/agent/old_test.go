package agent_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// oldGuest is an agent of the hypeman agent protocol 0.0.7, as far as files go.
type oldGuest struct {
	guestpb.UnimplementedGuestServiceServer
}

func dialOld(t *testing.T) *agent.Client {
	t.Helper()
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	guestpb.RegisterGuestServiceServer(s, oldGuest{})
	return newClient(t, serve(t, s))
}

func (oldGuest) StatPath(_ context.Context, req *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	stat := os.Lstat
	if req.GetFollowLinks() {
		stat = os.Stat
	}
	info, err := stat(req.GetPath())
	if errors.Is(err, fs.ErrNotExist) {
		return &guestpb.StatPathResponse{}, nil
	}
	if err != nil {
		return &guestpb.StatPathResponse{Error: err.Error()}, nil
	}
	resp := &guestpb.StatPathResponse{
		Exists: true, IsDir: info.IsDir(), IsFile: info.Mode().IsRegular(), IsSymlink: info.Mode()&fs.ModeSymlink != 0,
		Mode: uint32(info.Mode().Perm()), Size: info.Size(),
	}
	if resp.IsSymlink {
		resp.LinkTarget, err = os.Readlink(req.GetPath())
	}
	return resp, err
}

func (oldGuest) CopyToGuest(stream grpc.ClientStreamingServer[guestpb.CopyToGuestRequest, guestpb.CopyToGuestResponse]) error {
	fail := func(err error) error {
		return stream.SendAndClose(&guestpb.CopyToGuestResponse{Error: err.Error()})
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start.GetIsDir() {
		if err := os.MkdirAll(start.GetPath(), fs.FileMode(start.GetMode()).Perm()); err != nil {
			return fail(err)
		}
		return stream.SendAndClose(&guestpb.CopyToGuestResponse{Success: true})
	}
	f, err := os.OpenFile(start.GetPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fs.FileMode(start.GetMode()).Perm())
	if err != nil {
		return fail(err)
	}
	var written int64
	for {
		req, err := stream.Recv()
		if err == io.EOF || req.GetEnd() != nil {
			break
		}
		n, err := f.Write(req.GetData())
		if written += int64(n); err != nil {
			return fail(err)
		}
	}
	at := time.Unix(start.GetMtime(), 0)
	if err := errors.Join(f.Close(), os.Chtimes(start.GetPath(), at, at)); err != nil {
		return fail(err)
	}
	return stream.SendAndClose(&guestpb.CopyToGuestResponse{Success: true, BytesWritten: written})
}

func (oldGuest) CopyFromGuest(req *guestpb.CopyFromGuestRequest, stream grpc.ServerStreamingServer[guestpb.CopyFromGuestResponse]) error {
	var paths []string
	if _, err := os.Stat(req.GetPath()); err != nil {
		return stream.Send(&guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Error{
			Error: &guestpb.CopyFromGuestError{Message: "stat: " + err.Error(), Path: req.GetPath()}}})
	}
	err := filepath.Walk(req.GetPath(), func(path string, _ fs.FileInfo, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	for i, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(req.GetPath(), path)
		if err != nil {
			return err
		}
		h := &guestpb.CopyFromGuestHeader{
			Path: filepath.Join(filepath.Base(req.GetPath()), rel), Mode: uint32(info.Mode().Perm()),
			IsDir: info.IsDir(), IsSymlink: info.Mode()&fs.ModeSymlink != 0, Size: info.Size(), Mtime: info.ModTime().Unix(),
		}
		var content []byte
		if h.IsSymlink {
			h.LinkTarget, err = os.Readlink(path)
		} else if !h.IsDir {
			content, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
		messages := []*guestpb.CopyFromGuestResponse{{Response: &guestpb.CopyFromGuestResponse_Header{Header: h}}}
		if len(content) > 0 {
			messages = append(messages, &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Data{Data: content}})
		}
		messages = append(messages, &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_End{End: &guestpb.CopyFromGuestEnd{Final: i == len(paths)-1}}})
		for _, message := range messages {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}
	return nil
}
