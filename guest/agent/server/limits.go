package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxExecs bounds the commands at one time, over all connections. One more
	// is refused, since one that waits looks like one that hangs. A command costs
	// the agent about 100 KiB, and up to maxMessage while a message of standard
	// input is on its way.
	maxExecs = 256
	// maxStreams bounds the calls at one time on a connection. Calls above it
	// wait, as HTTP/2 has it, so it is well above maxExecs.
	maxStreams = 1024
	// maxMessage is gRPC's default, in bytes, which hosts rely on. It also bounds
	// a request's arguments and environment, of which the kernel takes less.
	maxMessage = 4 << 20
	// maxHeaders bounds a call's metadata, in bytes.
	maxHeaders = 64 << 10
	// streamWindow is how many bytes a call may send before they are consumed.
	// Left to itself, gRPC grows it to 16 MiB a call. It bounds a call's rate to
	// itself in each round trip, which under emulation takes 20 ms.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// ioBuffer is how many bytes one system call moves at most.
	ioBuffer = 128 << 10
	// handshakeTime bounds the HTTP/2 handshake.
	handshakeTime = 5 * time.Second
	// pingInterval is the shortest time between pings of a client. gRPC's clients
	// ping every 10 seconds at the most; one that floods is sent away.
	pingInterval = 5 * time.Second
	// A peer that has been silent for idleTime is pinged and given up for dead
	// after pingTimeout. vsock itself does not notice a host's process that hangs.
	// Idle calls go on, since every client answers pings by itself.
	idleTime    = time.Minute
	pingTimeout = 30 * time.Second

	// maxExecID bounds a command's name, in bytes.
	maxExecID = 256
	// maxReason bounds the reason of a shutdown, in bytes, for the guest's log.
	maxReason = 4 << 10
	// maxTable bounds /etc/passwd and /etc/group, in bytes.
	maxTable = 4 << 20
)

// limits are the server's bounds as gRPC takes them.
func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.SharedWriteBuffer(true),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idleTime, Timeout: pingTimeout}),
		grpc.WaitForHandlers(true),
	}
}
