package server

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// TestCodec decodes messages of all kinds of buffers, in pieces, twice: what was
// decoded first must not change with the buffer's next use.
func TestCodec(t *testing.T) {
	codec := newCodec()
	var want, got []*guestpb.ExecRequest
	for i, size := range []int{0, 1, 32 << 10, pooledSize, maxMessage - 16, 32 << 10} {
		message := &guestpb.ExecRequest{Request: &guestpb.ExecRequest_Stdin{Stdin: bytes.Repeat([]byte{byte(i + 1)}, size)}}
		encoded, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		half := len(encoded) / 2
		data := mem.BufferSlice{mem.SliceBuffer(encoded[:half]), mem.SliceBuffer(encoded[half:])}
		decoded := new(guestpb.ExecRequest)
		if err := codec.Unmarshal(data, decoded); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		want, got = append(want, message), append(got, decoded)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("decoded (-want +got):\n%.2000s", diff)
	}
	if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer("\x07")}, new(guestpb.ExecRequest)); err == nil {
		t.Error("garbage is a message")
	}
	if err := codec.Unmarshal(nil, "text"); err == nil || err.Error() != "decode message: string is none" {
		t.Errorf("no message: got %v", err)
	}
}

func TestBufferPool(t *testing.T) {
	pool := &bufferPool{}
	for _, size := range []int{1, pooledSize, pooledSize + 1} {
		buffer := pool.Get(size)
		if len(*buffer) != size {
			t.Errorf("Get(%d) gives %d bytes", size, len(*buffer))
		}
		pool.Put(buffer)
	}
}
