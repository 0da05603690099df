package server

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
)

// codec is gRPC's own but for the buffers that messages are read into. gRPC
// takes one of 1 MiB for what hypeman's clients send, 32 KiB and a few bytes,
// and clears all of it: that was a quarter of the agent's time (pprof in a
// guest, input of a command and copies to it).
type codec struct {
	encoding.CodecV2
	buffers *bufferPool
}

func newCodec() codec {
	return codec{encoding.GetCodecV2(proto.Name), &bufferPool{}}
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(protobuf.Message)
	if !ok {
		return fmt.Errorf("decode message: %T is none", v)
	}
	buffer := data.MaterializeToBuffer(c.buffers)
	defer buffer.Free()
	return protobuf.Unmarshal(buffer.ReadOnlyData(), message)
}

// bufferPool has buffers that are used again as they are.
type bufferPool struct{ pool sync.Pool }

// pooledSize is the size of pooled buffers in bytes, enough for usual messages.
const pooledSize = 160 << 10

func (p *bufferPool) Get(size int) *[]byte {
	if size > pooledSize {
		buffer := make([]byte, size)
		return &buffer
	}
	buffer, ok := p.pool.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
		*buffer = make([]byte, pooledSize)
	}
	*buffer = (*buffer)[:size]
	return buffer
}

func (p *bufferPool) Put(buffer *[]byte) {
	if cap(*buffer) == pooledSize {
		p.pool.Put(buffer)
	}
}
