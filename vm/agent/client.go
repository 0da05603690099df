// Package agent is the host's client of the guest agent: it runs commands in a
// running VM, over the hypeman agent protocol and what Kindling's agent serves
// beside it.
//
// The guest is not trusted: what it sends is bounded in size, and never waited
// for beyond the caller's context.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	// consumed. Left to itself, gRPC grows it to 16 MiB a call. It bounds a call's
	// rate to itself in each round trip, which to an emulated guest takes 20 ms.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// ioBuffer is how many bytes one system call moves at most.
	ioBuffer = 128 << 10
	// retryInterval is the pause between attempts to reach a guest that boots.
	retryInterval = 50 * time.Millisecond
	// closeTime is how long Close waits for a guest to take the last bytes.
	closeTime = 500 * time.Millisecond
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
	wires *wires
	guest guestpb.GuestServiceClient
	agent guestpb.AgentServiceClient
}

// Option changes how a client connects. Equal options compare equal.
type Option struct{ token string }

// WithToken makes a client show the agent the token of the guest's config disk
// in every call.
func WithToken(token string) Option { return Option{token: token} }

// token is that of the last option that has one.
func token(options []Option) (found string) {
	for _, option := range options {
		if option.token != "" {
			found = option.token
		}
	}
	return found
}

// bearer is a token as the metadata of calls.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false: the other end is a device of the machine.
func (bearer) RequireTransportSecurity() bool { return false }

// checkToken tells early what HTTP/2 would refuse in a header. The token itself
// does not go into the error.
func checkToken(token string) error {
	for _, b := range []byte(token) {
		if b <= ' ' || b > '~' {
			return errors.New("token has bytes other than printable ASCII")
		}
	}
	return nil
}

// NewClient returns a client that connects by dial. It does not connect yet.
func NewClient(dial func(ctx context.Context) (net.Conn, error), options ...Option) (*Client, error) {
	wires := &wires{dial: dial, open: map[*wire]bool{}}
	dialOptions := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(wires.connect),
		grpc.WithConnectParams(reconnect),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage),
			// gRPC sends what a guest has refused once again, from a buffer, and while
			// the guest does not take that, no context ends the call. So it has no buffer.
			grpc.MaxRetryRPCBufferSize(0),
		),
		grpc.WithUnaryInterceptor(unaryErrors),
		grpc.WithStreamInterceptor(streamErrors),
	}
	if token := token(options); token != "" {
		if err := checkToken(token); err != nil {
			return nil, fmt.Errorf("make agent client: %w", err)
		}
		dialOptions = append(dialOptions, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(target, dialOptions...)
	if err != nil {
		return nil, fmt.Errorf("make agent client: %w", err)
	}
	return &Client{conn: conn, wires: wires, guest: guestpb.NewGuestServiceClient(conn), agent: guestpb.NewAgentServiceClient(conn)}, nil
}

// NewHybridClient returns a client of the agent behind a hypervisor's hybrid
// vsock socket. It does not connect yet.
func NewHybridClient(socketPath string, options ...Option) (*Client, error) {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		return DialHybrid(ctx, socketPath, contract.AgentPort)
	}, options...)
}

// NewVsockClient returns a client of the agent of the guest with a context ID,
// by the host kernel's vsock. It does not connect yet.
func NewVsockClient(contextID uint32, options ...Option) (*Client, error) {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		return DialVsock(ctx, contextID, contract.AgentPort)
	}, options...)
}

// Close closes the connection. Calls that run fail.
func (c *Client) Close() error {
	// gRPC says goodbye, for which a guest that does not read keeps it waiting.
	cut := time.AfterFunc(closeTime, c.wires.cut)
	defer cut.Stop()
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
