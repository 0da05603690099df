package server

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// dialAgent serves Kindling's own service on a Unix socket.
func dialAgent(t *testing.T) guestpb.AgentServiceClient {
	t.Helper()
	s := New(Options{})
	listener := listenUnix(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	conn, err := grpc.NewClient("unix:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := conn.Close()
		s.Stop()
		if err := errors.Join(err, <-served); err != nil {
			t.Error(err)
		}
	})
	return guestpb.NewAgentServiceClient(conn)
}

// extractTar sends a stream in pieces, and the end unless it is to be missing.
func extractTar(t *testing.T, client guestpb.AgentServiceClient, start *guestpb.ExtractTarStart, stream io.Reader, end bool) (*guestpb.ExtractTarResponse, error) {
	t.Helper()
	call, err := client.ExtractTar(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	send := func(req *guestpb.ExtractTarRequest) error { return call.Send(req) }
	err = send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_Start{Start: start}})
	for buf := make([]byte, 10_000); err == nil; {
		var n int
		n, err = stream.Read(buf)
		if n > 0 {
			err = send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_Data{Data: buf[:n]}})
		}
	}
	if err == io.EOF && end {
		err = send(&guestpb.ExtractTarRequest{Request: &guestpb.ExtractTarRequest_End{End: &guestpb.ExtractTarEnd{}}})
	}
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return call.CloseAndRecv()
}

func tarOf(t *testing.T, headers ...*tar.Header) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		h.Mode = 0o644
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func TestExtractTar(t *testing.T) {
	dir := t.TempDir()
	client := dialAgent(t)
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name} }
	tests := []struct {
		name   string
		path   string
		stream io.Reader
		noEnd  bool
		want   *guestpb.ExtractTarResponse
		code   codes.Code
		text   string
	}{
		{name: "new folder", path: dir + "/a/b", stream: tarOf(t, file("x"), file("y")), want: &guestpb.ExtractTarResponse{Entries: 2}},
		{name: "relative to /", path: strings.TrimPrefix(dir, "/"), stream: tarOf(t, file("x")), want: &guestpb.ExtractTarResponse{Entries: 1}},
		{name: "no path", stream: tarOf(t), code: codes.NotFound, text: "extract tar: make folder: no such file or directory"},
		{name: "file as folder", path: dir + "/x", stream: tarOf(t), code: codes.Unknown, text: "extract tar: make folder: mkdir " + dir + "/x: not a directory"},
		{name: "no end", path: dir, stream: tarOf(t, file("x")), noEnd: true, code: codes.InvalidArgument, text: "extract tar: read tar stream: call has ended without ExtractTarEnd: unexpected EOF"},
		{name: "empty", path: dir, stream: strings.NewReader(""), code: codes.InvalidArgument, text: "extract tar: read tar stream: unexpected EOF"},
		{name: "no tar", path: dir, stream: strings.NewReader(strings.Repeat("x", 1024)), code: codes.InvalidArgument, text: "extract tar: read tar stream: archive/tar: invalid tar header"},
		{name: "out", path: dir, stream: tarOf(t, file("../x")), code: codes.Unknown, text: `extract tar: extract "../x": name "../x" has a ..`},
		{name: "not UTF-8", path: dir, stream: tarOf(t, &tar.Header{Typeflag: 'Z', Name: "\xff"}), code: codes.Unknown, text: `extract tar: extract "\xff": unknown type 'Z'`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := extractTar(t, client, &guestpb.ExtractTarStart{Path: test.path}, test.stream, !test.noEnd)
			if s := status.Convert(err); s.Code() != test.code || s.Message() != test.text {
				t.Errorf("got error %v, want code %v, %q", err, test.code, test.text)
			}
			if test.want != nil && got.String() != test.want.String() {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	requireNames(t, dir, "a", "x")
}

func TestExtractTarFirstMessage(t *testing.T) {
	client := dialAgent(t)
	for _, first := range []*guestpb.ExtractTarRequest{nil, {}, {Request: &guestpb.ExtractTarRequest_Data{}}} {
		call, err := client.ExtractTar(limited(t))
		if err == nil && first != nil {
			err = call.Send(first)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: got error %v, want code %v", first, err, codes.InvalidArgument)
		}
	}
}

// createTar gives the names of a stream.
func createTar(t *testing.T, client guestpb.AgentServiceClient, req *guestpb.CreateTarRequest) (names []string, end *guestpb.CreateTarEnd, err error) {
	t.Helper()
	call, err := client.CreateTar(limited(t), req)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	for end == nil {
		resp, err := call.Recv()
		if err != nil {
			return nil, nil, err
		}
		if n := len(resp.GetData()); n > chunkSize {
			t.Errorf("got a message of %d bytes, want at most %d", n, chunkSize)
		}
		stream.Write(resp.GetData())
		end = resp.GetEnd()
	}
	for r := tar.NewReader(&stream); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, end, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestCreateTar(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(dir+"/tree", 0o700), os.WriteFile(dir+"/tree/f \xff", []byte("x"), 0o600), os.Symlink("tree", dir+"/link"),
		unix.Mkfifo(dir+"/tree/fifo", 0o600), unix.Mknod(dir+"/tree/socket \xff", unix.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	below := []string{"f \xff", "fifo"}
	skipped := []string{dir + "/tree/socket \uFFFD"}
	tests := []struct {
		path    string
		follow  bool
		want    []string
		skipped []string
		code    codes.Code
	}{
		{path: "/tree", want: []string{"tree/", "tree/" + below[0], "tree/" + below[1]}, skipped: skipped},
		{path: "/tree/../tree/.", want: []string{"tree/", "tree/" + below[0], "tree/" + below[1]}, skipped: []string{dir + "/tree/../tree/./socket \uFFFD"}},
		{path: "/link", want: []string{"link"}},
		{path: "/link", follow: true, want: []string{"link/", "link/" + below[0], "link/" + below[1]}, skipped: []string{dir + "/link/socket \uFFFD"}},
		{path: "/none", code: codes.NotFound},
	}
	client := dialAgent(t)
	for _, test := range tests {
		names, end, err := createTar(t, client, &guestpb.CreateTarRequest{Path: dir + test.path, FollowLinks: test.follow})
		if status.Code(err) != test.code {
			t.Errorf("%s: got error %v, want code %v", test.path, err, test.code)
		}
		if diff := cmp.Diff(test.want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.path, diff)
		}
		if diff := cmp.Diff(test.skipped, end.GetSkipped()); diff != "" || end.GetEntries() != int64(len(test.want)) {
			t.Errorf("%s: got %d entries, skipped (-want +got):\n%s", test.path, end.GetEntries(), diff)
		}
	}
}

// heap is what lives, in bytes.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestTarMemory moves a large file and a large directory past a slow peer and
// looks at the heap on the way.
func TestTarMemory(t *testing.T) {
	const limit = 8 << 20
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(dir+"/from", 0o700), os.WriteFile(dir+"/from/large", bytes.Repeat([]byte("x"), 64<<20), 0o600), os.Mkdir(dir+"/from/many", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5000 {
		if err := os.WriteFile(fmt.Sprint(dir, "/from/many/", i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := dialAgent(t)
	before := heap()
	call, err := client.CreateTar(limited(t), &guestpb.CreateTarRequest{Path: dir + "/from"})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	made := make(chan *guestpb.ExtractTarResponse, 1)
	go func() {
		resp, err := extractTar(t, client, &guestpb.ExtractTarStart{Path: dir + "/to"}, r, true)
		if err != nil {
			t.Error(err)
		}
		made <- resp
	}()
	var peak uint64
	var end *guestpb.CreateTarEnd
	for i := 0; end == nil; i++ {
		resp, err := call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(resp.GetData()); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			peak = max(peak, heap())
		}
		end = resp.GetEnd()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-made; got.GetEntries() != 5003 || end.GetEntries() != 5003 || got.GetBytes() != 64<<20 {
		t.Errorf("got %v of %d entries, want 5003", got, end.GetEntries())
	}
	if peak > before+limit {
		t.Errorf("heap grew by %d bytes, want at most %d", peak-before, limit)
	}
}

// listenUnix listens on a Unix socket with a short name: 107 bytes is the limit.
func listenUnix(t *testing.T) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	listener, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
