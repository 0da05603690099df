package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// The vsock device can appear after the agent has started. The hypeman agent
// protocol gives how long it is awaited.
const (
	listenAttempts = 10
	listenInterval = time.Second
)

// listenVsock listens with any context ID, since that of the guest changes when
// it is restored under another one.
func listenVsock() (net.Listener, error) {
	return vsock.ListenContextID(unix.VMADDR_CID_ANY, contract.AgentPort, nil)
}

// listenRetrying calls listen until it succeeds, listenAttempts times at most.
func listenRetrying(ctx context.Context, listen func() (net.Listener, error), logger *log.Logger) (net.Listener, error) {
	for attempt := 1; ; attempt++ {
		listener, err := listen()
		if err == nil {
			return listener, nil
		}
		err = fmt.Errorf("listen on vsock port %d: %w", contract.AgentPort, err)
		if attempt == listenAttempts {
			return nil, err
		}
		logger.Printf("%s attempt %d of %d: %v", logTag, attempt, listenAttempts, err)
		timer := time.NewTimer(listenInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}
