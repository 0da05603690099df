package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
)

// logTag starts the agent's log messages. The hypeman agent protocol gives it.
const logTag = "[guest-agent]"

// drainTime is how long calls may take to end once the agent is to end.
const drainTime = 500 * time.Millisecond

func run(args []string, logger *log.Logger) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	// Commands shall not find it, so it is taken out of the environment.
	readyFD := os.Getenv(contract.AgentReadyFDEnv)
	if err := os.Unsetenv(contract.AgentReadyFDEnv); err != nil {
		return fmt.Errorf("unset %s: %w", contract.AgentReadyFDEnv, err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := listenRetrying(ctx, listenVsock, logger)
	if err != nil {
		return err
	}
	logger.Print(contract.AgentListening)
	logger.Printf("%s %s ts=%s", logTag, contract.AgentReadyMarker, time.Now().UTC().Format(time.RFC3339Nano))
	if err := notifyReady(readyFD); err != nil {
		logger.Printf("%s notify init: %v", logTag, err)
	}
	return serve(ctx, &hostListener{Listener: listener, logger: logger})
}

// serve serves until the context ends, and then ends what still runs.
func serve(ctx context.Context, listener net.Listener) error {
	s := server.New(server.Options{Env: os.Environ(), Kill: syscall.Kill})
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// An answer that is under way goes out, as that to the Shutdown that
		// brought this about: a host that does not get it does not wait for the end.
		force := time.AfterFunc(drainTime, s.Stop)
		defer force.Stop()
		s.GracefulStop()
	})
	err := s.Serve(listener)
	if !stop() {
		<-stopped // commands are killed, and reaped
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
