package agent

import (
	"context"
	"fmt"
	"net"

	"github.com/mdlayher/vsock"
)

// DialVsock connects to a vsock port of the guest with a context ID, by the host
// kernel's AF_VSOCK. It may take 5 s, or less if the context ends before.
func DialVsock(ctx context.Context, contextID, port uint32) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := vsock.DialContext(ctx, contextID, port, nil)
	if err != nil {
		return nil, fmt.Errorf("dial vsock: %w", err)
	}
	return conn, nil
}
