package agentconformance

import (
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// withoutFiles is an agent that must say that it serves no files.
func withoutFiles(s *session) {
	_, guest := s.raw()
	_, err := guest.StatPath(s.ctx, &guestpb.StatPathRequest{Path: "/"})
	if code := status.Code(err); code != codes.Unimplemented && code != codes.Unauthenticated {
		s.Errorf("got error %v, want code %v", err, codes.Unimplemented)
	}
}

// fileCases are the messages of the hypeman agent protocol; an agent that wants
// a token is not asked.
var fileCases = []testCase{
	{name: "files: stat", needs: Files, without: withoutFiles, run: func(s *session) {
		_, guest := s.raw()
		for path, want := range map[string]*guestpb.StatPathResponse{
			"/proc":          {Exists: true, IsDir: true},
			"/proc/version":  {Exists: true, IsFile: true},
			"/proc/self":     {Exists: true, IsSymlink: true},
			"/kindling/none": {},
		} {
			got, err := guest.StatPath(s.ctx, &guestpb.StatPathRequest{Path: path})
			if err != nil {
				s.Errorf("%s: %v", path, err)
				continue
			}
			if got.GetExists() != want.GetExists() || got.GetIsDir() != want.GetIsDir() || got.GetIsFile() != want.GetIsFile() ||
				got.GetIsSymlink() != want.GetIsSymlink() || got.GetError() != "" || got.GetIsSymlink() != (got.GetLinkTarget() != "") {
				s.Errorf("%s: got %v, want %v", path, got, want)
			}
		}
	}},
	{name: "files: to the guest and back", needs: Files, without: withoutFiles, run: func(s *session) {
		dir := s.tempDir()
		content := strings.Repeat("0123456789abcde\n", 1<<12)
		resp := s.copyTo(&guestpb.CopyToGuestStart{Path: dir + "/sub/file", Mode: 0o640, Size: int64(len(content)), Mtime: 1e9}, content)
		if !resp.GetSuccess() || resp.GetError() != "" || resp.GetBytesWritten() != int64(len(content)) {
			s.Fatalf("to the guest: got %v", resp)
		}
		_, guest := s.raw()
		stream, err := guest.CopyFromGuest(s.ctx, &guestpb.CopyFromGuestRequest{Path: dir + "/sub/file"})
		if err != nil {
			s.Fatal(err)
		}
		var header *guestpb.CopyFromGuestHeader
		var got string
		for final := false; !final; {
			resp, err := stream.Recv()
			if err != nil {
				s.Fatalf("from the guest: %v", err)
			}
			if resp.GetHeader() != nil {
				header = resp.GetHeader()
			}
			got += string(resp.GetData())
			final = resp.GetEnd().GetFinal()
		}
		if _, err := stream.Recv(); err != io.EOF {
			s.Errorf("behind the final message: got error %v, want %v", err, io.EOF)
		}
		if header.GetPath() != "file" || header.GetMode() != 0o640 || header.GetMtime() != 1e9 || header.GetSize() != int64(len(content)) || got != content {
			s.Errorf("got %v and %d bytes", header, len(got))
		}
	}},
	{name: "files: failures to the guest are answers", needs: Files, without: withoutFiles, run: func(s *session) {
		dir := s.tempDir()
		resp := s.copyTo(&guestpb.CopyToGuestStart{Path: dir}, "x")
		if want := "cannot copy file: " + dir + " is a directory"; resp.GetSuccess() || resp.GetError() != want {
			s.Errorf("onto a directory: got %v, want %q", resp, want)
		}
		resp = s.copyTo(nil, "x")
		if want := "first message must be CopyToGuestStart"; resp.GetSuccess() || resp.GetError() != want {
			s.Errorf("without a start: got %v, want %q", resp, want)
		}
	}},
	{name: "files: what does not exist", needs: Files, without: withoutFiles, run: func(s *session) {
		_, guest := s.raw()
		stream, err := guest.CopyFromGuest(s.ctx, &guestpb.CopyFromGuestRequest{Path: "/kindling/none"})
		if err != nil {
			s.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil || !strings.HasPrefix(resp.GetError().GetMessage(), "stat: ") {
			s.Fatalf("got %v, error %v, want an error message", resp, err)
		}
		if resp, err := stream.Recv(); err != io.EOF {
			s.Errorf("behind it: got %v, %v, want %v", resp, err, io.EOF)
		}
	}},
}

// tempDir makes a directory in the guest.
func (s *session) tempDir() string {
	s.Helper()
	got, err := s.exec(agent.ExecOptions{Command: []string{"mktemp", "-d"}})
	dir := strings.TrimSpace(got.stdout)
	if err != nil || !got.exit.Success() || dir == "" {
		s.Fatalf("make directory: got %+v, error %v", got, err)
	}
	s.Cleanup(func() {
		// The context of the case has ended already.
		exit, err := s.Exec(s.cleanupContext(), agent.ExecOptions{Command: []string{"rm", "-r", dir}})
		if err != nil || !exit.Success() {
			s.Errorf("remove directory: %v, %v", exit, err)
		}
	})
	return dir
}

func (s *session) copyTo(start *guestpb.CopyToGuestStart, content string) *guestpb.CopyToGuestResponse {
	s.Helper()
	_, guest := s.raw()
	stream, err := guest.CopyToGuest(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	var requests []*guestpb.CopyToGuestRequest
	if start != nil {
		requests = append(requests, &guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Start{Start: start}})
	}
	requests = append(requests,
		&guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_Data{Data: []byte(content)}},
		&guestpb.CopyToGuestRequest{Request: &guestpb.CopyToGuestRequest_End{End: &guestpb.CopyToGuestEnd{}}})
	for _, req := range requests {
		if err := stream.Send(req); err != nil && err != io.EOF {
			s.Fatal(err)
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		s.Fatal(err)
	}
	return resp
}
