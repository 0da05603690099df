package agent

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

// script is a stream of messages: a length of two bytes before each.
type script struct {
	grpc.ServerStreamingClient[guestpb.CopyFromGuestResponse]
	rest []byte
}

func (s *script) Recv() (*guestpb.CopyFromGuestResponse, error) {
	if len(s.rest) < 2 {
		return nil, io.EOF
	}
	n := min(int(binary.BigEndian.Uint16(s.rest)), len(s.rest)-2)
	message := new(guestpb.CopyFromGuestResponse)
	err := proto.Unmarshal(s.rest[2:2+n], message)
	s.rest = s.rest[2+n:]
	return message, err
}

// FuzzEntries looks at what is beside the destination.
func FuzzEntries(f *testing.F) {
	add := func(messages ...*guestpb.CopyFromGuestResponse) {
		var seed []byte
		for _, message := range messages {
			text, err := proto.Marshal(message)
			if err != nil {
				f.Fatal(err)
			}
			seed = append(binary.BigEndian.AppendUint16(seed, uint16(len(text))), text...)
		}
		f.Add(seed, true)
		f.Add(seed, false)
	}
	header := func(h *guestpb.CopyFromGuestHeader) *guestpb.CopyFromGuestResponse {
		return &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Header{Header: h}}
	}
	end := &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_End{End: &guestpb.CopyFromGuestEnd{}}}
	data := &guestpb.CopyFromGuestResponse{Response: &guestpb.CopyFromGuestResponse_Data{Data: []byte("hello")}}
	add(header(&guestpb.CopyFromGuestHeader{Path: "x", IsDir: true, Mode: 0o755}), end, header(&guestpb.CopyFromGuestHeader{Path: "x/y", Size: 5}), data, end)
	add(header(&guestpb.CopyFromGuestHeader{Path: "x", IsSymlink: true, LinkTarget: ".."}), header(&guestpb.CopyFromGuestHeader{Path: "x/secret", Mode: 0o7777, UnixMode: 0o7000}), data, end)
	add(header(&guestpb.CopyFromGuestHeader{Path: "../secret", Size: -1, Mtime: -1 << 63, Uid: 1<<32 - 1}), data)
	f.Fuzz(func(t *testing.T, messages []byte, ofRoot bool) {
		outer := t.TempDir()
		secret, inner := filepath.Join(outer, "secret"), filepath.Join(outer, "inner")
		if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(inner, 0o700)); err != nil {
			t.Fatal(err)
		}
		x, err := treecopy.NewExtractor(inner, treecopy.ExtractOptions{Guarded: true, MaxBytes: 1 << 20, MaxEntries: 100})
		if err != nil {
			t.Fatal(err)
		}
		r := &entryReceiver{stream: &script{rest: messages}, ofRoot: ofRoot}
		_ = r.each(func(h *tar.Header) error { return x.Put(context.Background(), h, r) })
		_ = x.Close()
		entries, err := os.ReadDir(outer)
		if err != nil || len(entries) != 2 {
			t.Errorf("got %v outside, error %v", entries, err)
		}
		if got, err := os.ReadFile(secret); string(got) != "secret" || err != nil {
			t.Errorf("got %q, error %v, want it unchanged", got, err)
		}
		err = filepath.WalkDir(inner, func(path string, entry fs.DirEntry, err error) error {
			if strings.HasPrefix(entry.Name(), ".kindling-") && !strings.Contains(string(messages), ".kindling-") {
				t.Errorf("%s is left", path)
			}
			if entry.Type() == fs.ModeSymlink {
				if real, err := filepath.EvalSymlinks(path); err == nil && real != inner && !strings.HasPrefix(real, inner+"/") {
					t.Errorf("%s leads to %s", path, real)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
