// Package agent is the host's client of the guest agent: it runs commands in a
// running VM, over the hypeman agent protocol.
//
// The guest is not trusted: what it sends is bounded in size, and never waited
// for beyond the caller's context.
package agent

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

const (
	// target makes the authority of calls "vsock", as the hypeman agent protocol
	// has it.
	target = "passthrough:///vsock"
	// maxMessage and maxHeaders bound what a guest can make us hold, in bytes.
	maxMessage = 4 << 20
	maxHeaders = 64 << 10
	// streamWindow is how many bytes a guest may send on a call before they are
	// consumed. Left to itself, gRPC grows it to 16 MiB a call.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	// retryInterval is the pause between attempts to reach a guest that boots.
	retryInterval = 50 * time.Millisecond
)

// reconnect makes attempts to connect frequent: they cost little on a Unix
// socket, and a guest boots within a second.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: retryInterval, Multiplier: 1.5, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: dialTime + handshakeTime,
}

// Client is the connection to one guest's agent, shared by any number of calls
// at one time. It connects when it is first needed, and again when the
// connection is lost; calls that run are lost with it.
type Client struct {
	conn  *grpc.ClientConn
	guest guestpb.GuestServiceClient
}

// NewClient returns a client that connects by dial. It does not connect yet.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) (*Client, error) {
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithConnectParams(reconnect),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("make agent client: %w", err)
	}
	return &Client{conn: conn, guest: guestpb.NewGuestServiceClient(conn)}, nil
}

// NewHybridClient returns a client of the agent behind a hypervisor's hybrid
// vsock socket. It does not connect yet.
func NewHybridClient(socketPath string) (*Client, error) {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		return DialHybrid(ctx, socketPath, contract.AgentPort)
	})
}

// Close closes the connection. Calls that run fail.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close agent client: %w", err)
	}
	return nil
}

// WaitReady returns when the agent has answered a call, or when the context
// ends.
func (c *Client) WaitReady(ctx context.Context) error {
	for {
		_, err := c.guest.StatPath(ctx, &guestpb.StatPathRequest{Path: "/"}, grpc.WaitForReady(true))
		switch status.Code(err) {
		case codes.OK, codes.Unimplemented: // the answer itself does not matter
			return nil
		case codes.Unavailable: // the connection was lost before the answer
		default:
			return fmt.Errorf("wait for agent: %w", err)
		}
		timer := time.NewTimer(retryInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for agent: %w: %w", context.Cause(ctx), err)
		}
	}
}

// Shutdown makes the agent send a signal to the guest's PID 1; 0 is SIGTERM. It
// does not wait for the guest to stop.
func (c *Client) Shutdown(ctx context.Context, signal syscall.Signal) error {
	if _, err := c.guest.Shutdown(ctx, &guestpb.ShutdownRequest{Signal: int32(signal)}); err != nil {
		return fmt.Errorf("shut down guest: %w", err)
	}
	return nil
}
