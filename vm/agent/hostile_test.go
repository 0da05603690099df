package agent_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// liar is an agent that answers what a test makes up.
type liar struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	entries []*guestpb.CopyFromGuestResponse
	tar     []*guestpb.CreateTarResponse // nil if it has no tar streams
	forever bool                         // the last message is sent without an end
	err     error
	stat    *guestpb.StatPathResponse
	written *guestpb.CopyToGuestResponse
}

func (l *liar) CopyFromGuest(_ *guestpb.CopyFromGuestRequest, stream grpc.ServerStreamingServer[guestpb.CopyFromGuestResponse]) error {
	return answer(l, l.entries, stream.Send)
}

func (l *liar) CreateTar(_ *guestpb.CreateTarRequest, stream grpc.ServerStreamingServer[guestpb.CreateTarResponse]) error {
	if l.tar == nil {
		return status.Error(codes.Unimplemented, "no tar")
	}
	return answer(l, l.tar, stream.Send)
}

func answer[T any](l *liar, messages []T, send func(T) error) error {
	for i, message := range messages {
		for again := true; again; again = l.forever && i == len(messages)-1 {
			if err := send(message); err != nil {
				return err
			}
		}
	}
	return l.err
}

func (l *liar) StatPath(context.Context, *guestpb.StatPathRequest) (*guestpb.StatPathResponse, error) {
	return l.stat, l.err
}

func (l *liar) CopyToGuest(stream grpc.ClientStreamingServer[guestpb.CopyToGuestRequest, guestpb.CopyToGuestResponse]) error {
	return stream.SendAndClose(l.written)
}

func dialLiar(t *testing.T, l *liar) *agent.Client {
	t.Helper()
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	guestpb.RegisterGuestServiceServer(s, l)
	guestpb.RegisterAgentServiceServer(s, l)
	return newClient(t, serve(t, s))
}

func header(h *guestpb.CopyFromGuestHeader) *guestpb.CopyFromGuestResponse {
	return &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Header{Header: h}}
}

func fileHeader(name string, size int64) *guestpb.CopyFromGuestResponse {
	return header(&guestpb.CopyFromGuestHeader{Path: name, Mode: 0o644, Size: size})
}

func data(text string) *guestpb.CopyFromGuestResponse {
	return &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Data{Data: []byte(text)}}
}

func end(final bool) *guestpb.CopyFromGuestResponse {
	return &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_End{End: &guestpb.CopyFromGuestEnd{Final: final}}}
}

func failure(path, message string) *guestpb.CopyFromGuestResponse {
	return &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Error{Error: &guestpb.CopyFromGuestError{Path: path, Message: message}}}
}

// requireTree compares the paths below a directory, with the content of files.
func requireTree(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		text := strings.TrimPrefix(path, dir+"/")
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += "=" + string(content)
		}
		got = append(got, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyFromBadEntries(t *testing.T) {
	t.Parallel()
	type message = *guestpb.CopyFromGuestResponse
	folder := header(&guestpb.CopyFromGuestHeader{Path: "x", Mode: 0o755, IsDir: true})
	link := func(name, target string) message {
		return header(&guestpb.CopyFromGuestHeader{Path: name, Mode: 0o777, IsSymlink: true, LinkTarget: target})
	}
	tests := []struct {
		name    string
		entries []message
		forever bool
		err     error
		want    []string // what is made
		wantErr string   // empty for none
	}{
		{name: "nothing", wantErr: "copy stream ended without completion marker"},
		{name: "no final", entries: []message{fileHeader("x", 1), data("1"), end(false)}, want: []string{"got=1"}, wantErr: "copy stream ended without completion marker"},
		{name: "no end", entries: []message{fileHeader("x", 1), data("1")}, wantErr: "copy stream ended without completion marker"},
		{name: "data first", entries: []message{data("1")}, wantErr: "data or an end without a header"},
		{name: "end first", entries: []message{end(true)}, wantErr: "data or an end without a header"},
		{name: "empty message first", entries: []message{{}}, wantErr: "data or an end without a header"},
		{name: "data between", entries: []message{folder, end(false), data("1")}, want: []string{"got"}, wantErr: "data or an end without a header"},
		{name: "header within a file", entries: []message{fileHeader("x", 1), fileHeader("x", 1)}, wantErr: `next header before the end of "x"`},
		{name: "data of a folder", entries: []message{folder, data("1")}, forever: true, want: []string{"got"}, wantErr: `content of "x", which is no file`},
		{name: "data of a link", entries: []message{link("x", "y"), data("1")}, forever: true, want: []string{"got"}, wantErr: `content of "x", which is no file`},
		{name: "link without an end", entries: []message{folder, end(false), link("x/a", "b"), link("x/b", "a"), end(true)}, want: []string{"got", "got/a", "got/b"}},
		{name: "folder and link", entries: []message{header(&guestpb.CopyFromGuestHeader{Path: "x", IsDir: true, IsSymlink: true})}, wantErr: "a directory and a link"},
		{name: "negative size", entries: []message{fileHeader("x", -1)}, wantErr: "a size of -1"},
		{name: "absurd mode", entries: []message{header(&guestpb.CopyFromGuestHeader{Path: "x", Mode: 1 << 31})}, wantErr: "a mode of 020000000000"},
		{name: "special bits", entries: []message{header(&guestpb.CopyFromGuestHeader{Path: "x", Mode: 0o7755, UnixMode: 0o107755}), end(true)}, want: []string{"got="}},
		{name: "more than the size", entries: []message{fileHeader("x", 1), data("12")}, wantErr: `more of "x" than the 1 bytes`},
		{name: "less than the size", entries: []message{fileHeader("x", 9), data("12"), end(true)}, want: []string{"got=12"}},
		{name: "size 0", entries: []message{fileHeader("x", 0), data("12"), end(true)}, want: []string{"got=12"}},
		{name: "without an end", entries: []message{fileHeader("x", 0), data(strings.Repeat("x", 1000))}, forever: true, wantErr: "more than 100000 bytes"},
		{name: "empty without an end", entries: []message{fileHeader("x", 0), data("")}, forever: true, wantErr: "more than 1000 empty messages"},
		{name: "entries without an end", entries: []message{folder, end(false), link("x/a", "b")}, forever: true, want: []string{"got", "got/a"}, wantErr: "more than 10 entries"},
		{name: "messages behind the final one", entries: []message{fileHeader("x", 0), end(true), data("1")}, forever: true, want: []string{"got="}},
		{name: "other name", entries: []message{fileHeader("y", 0), end(true)}, wantErr: `guest sent the name "y"`},
		{name: "name that starts alike", entries: []message{fileHeader("xy", 0), end(true)}, wantErr: `guest sent the name "xy"`},
		{name: "absolute name", entries: []message{fileHeader("/x", 0), end(true)}, wantErr: `name "/x" is absolute`},
		{name: "no name", entries: []message{fileHeader("", 0), end(true)}, wantErr: "it has no name"},
		{name: "name up", entries: []message{fileHeader("x/../../y", 0), end(true)}, wantErr: `has a ..`},
		{name: "absolute link", entries: []message{link("x", "/etc/passwd"), end(true)}, wantErr: `link target "/etc/passwd" is outside of the destination`},
		{name: "link up", entries: []message{folder, end(false), link("x/a", "../../y"), end(true)}, want: []string{"got"}, wantErr: `link target "../../y" is outside of the destination`},
		{name: "file through a link", entries: []message{folder, end(false), link("x/a", "."), end(false), fileHeader("x/a/b", 0), end(true)}, want: []string{"got", "got/a"}, wantErr: "not a directory"},
		{name: "error message", entries: []message{folder, failure("/p\x1b[2J", "m\n\x07"+strings.Repeat("a", 5000))}, want: []string{"got"}, wantErr: "/p\uFFFD[2J: m\uFFFD\uFFFDaaa"},
		{name: "status", err: status.Error(codes.Aborted, "a\x1b[2J"), wantErr: "a\uFFFD[2J"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := dialLiar(t, &liar{entries: test.entries, forever: test.forever, err: test.err})
			_, err := c.CopyFrom(limited(t), agent.CopyFromOptions{Source: "/x", Dir: dir, Name: "got", MaxBytes: 100_000, MaxEntries: 10})
			if (err != nil) != (test.wantErr != "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if err != nil && len(err.Error()) > 4000 {
				t.Errorf("got an error of %d bytes", len(err.Error()))
			}
			requireTree(t, dir, test.want...)
			if info, err := os.Stat(dir + "/got"); err == nil && info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
				t.Errorf("got mode %v, want no set-ID bits", info.Mode())
			}
		})
	}
}

func TestCopyFromBadTar(t *testing.T) {
	t.Parallel()
	type message = *guestpb.CreateTarResponse
	stream := func(headers ...*tar.Header) message {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		return &guestpb.CreateTarResponse{Response: &guestpb.CreateTarResponse_Data{Data: buf.Bytes()}}
	}
	raw := func(text string) message {
		return &guestpb.CreateTarResponse{Response: &guestpb.CreateTarResponse_Data{Data: []byte(text)}}
	}
	trailer := raw(strings.Repeat("\x00", 1024))
	last := &guestpb.CreateTarResponse{Response: &guestpb.CreateTarResponse_End{End: &guestpb.CreateTarEnd{Skipped: []string{"a\x1b"}}}}
	file := stream(&tar.Header{Typeflag: tar.TypeReg, Name: "x"})
	pax := stream(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Format: tar.FormatPAX, PAXRecords: map[string]string{"K.k": strings.Repeat("v", 5000)}})
	tests := []struct {
		name    string
		tar     []message
		forever bool
		want    []string
		wantErr string
	}{
		{name: "good", tar: []message{file, trailer, last}, want: []string{"got="}},
		{name: "no end", tar: []message{file, trailer}, want: []string{"got="}, wantErr: "tar stream has ended without its completion marker"},
		{name: "no trailer", tar: []message{file, last}, want: []string{"got="}, wantErr: "unexpected EOF"},
		{name: "empty", tar: []message{last}, wantErr: "unexpected EOF"},
		{name: "empty messages without an end", tar: []message{{}}, forever: true, wantErr: "more than 1000 empty messages"},
		{name: "padding without an end", tar: []message{file, trailer}, forever: true, want: []string{"got="}, wantErr: "tar stream has more than 100000 bytes"},
		{name: "records without an end", tar: []message{raw(string(pax.GetData()[:6144]))}, forever: true, wantErr: "more than"},
		{name: "file without an end", tar: []message{stream(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1 << 40}), raw(strings.Repeat("\x00", 1000))}, forever: true, wantErr: "more than 100000 bytes"},
		{name: "device", tar: []message{stream(&tar.Header{Typeflag: tar.TypeChar, Name: "x"}), trailer, last}, wantErr: "it is a character device"},
		{name: "FIFO", tar: []message{stream(&tar.Header{Typeflag: tar.TypeFifo, Name: "x"}), trailer, last}, wantErr: "it is a FIFO"},
		{name: "other name", tar: []message{stream(&tar.Header{Typeflag: tar.TypeReg, Name: "y"}), trailer, last}, wantErr: `guest sent the name "y"`},
		{name: "hard link out", tar: []message{stream(&tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "../y"}), trailer, last}, wantErr: "has a .."},
		{name: "hard link to what was there", tar: []message{stream(&tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "y"}), trailer, last}, wantErr: `guest sent the name "y"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := dialLiar(t, &liar{tar: test.tar, forever: test.forever})
			result, err := c.CopyFrom(limited(t), agent.CopyFromOptions{Source: "x", Dir: dir, Name: "got", MaxBytes: 100_000, MaxEntries: 10})
			if (err != nil) != (test.wantErr != "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if err == nil && (len(result.Skipped) != 1 || result.Skipped[0] != "a\uFFFD") {
				t.Errorf("got skipped %q", result.Skipped)
			}
			if test.name != "records without an end" { // how many fit is not the point
				requireTree(t, dir, test.want...)
			}
		})
	}
}

func TestStatBadGuest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		stat *guestpb.StatPathResponse
		err  error
		want string
	}{
		{"negative size", &guestpb.StatPathResponse{Exists: true, Size: -1}, nil, "guest claims a size of -1"},
		{"long target", &guestpb.StatPathResponse{Exists: true, LinkTarget: strings.Repeat("x", 5000)}, nil, "guest claims a link target of 5000 bytes"},
		{"error", &guestpb.StatPathResponse{Error: "a\x1b[2J" + strings.Repeat("x", 5000)}, nil, "stat /x in guest: a\uFFFD[2Jxxx"},
		{"status", nil, status.Error(codes.Internal, "a\nb"), "a\uFFFDb"},
	}
	for _, test := range tests {
		_, err := dialLiar(t, &liar{stat: test.stat, err: test.err}).Stat(limited(t), "/x", false)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 2000 {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

// TestCopyToBadGuest has agents without tar streams.
func TestCopyToBadGuest(t *testing.T) {
	t.Parallel()
	source := t.TempDir() + "/f"
	if err := os.WriteFile(source, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, written := range map[string]*guestpb.CopyToGuestResponse{
		"create file: a\uFFFDb":       {Error: "create file: a\nb"},
		"guest wrote 4 bytes, want 5": {Success: true, BytesWritten: 4},
	} {
		_, err := dialLiar(t, &liar{written: written}).CopyTo(limited(t), agent.CopyToOptions{Source: source, Dir: "/", Name: "x"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}
