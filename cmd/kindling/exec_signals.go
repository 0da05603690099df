package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/vm/agent"
)

// forwardTimeout bounds how long the agent may take to send a signal.
const forwardTimeout = 2 * time.Second

// waitReady waits for the agent until a signal comes or the machine ends.
func waitReady(interrupted, machine context.Context, name, dir string, client *agent.Client) error {
	ctx, cancel := context.WithCancelCause(machine)
	defer cancel(nil)
	defer context.AfterFunc(interrupted, func() { cancel(context.Cause(interrupted)) })()
	return waitAwake(ctx, name, dir, client)
}

// execForwarding runs a command which gets the signals that come. With a
// terminal the keys send them, and any signal is the terminal's end.
func execForwarding(ctx context.Context, client *agent.Client, o agent.ExecOptions, signals <-chan os.Signal) (agent.ExitStatus, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for count := 1; ; count++ {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				if o.TTY != nil || count == 3 {
					cancel(fmt.Errorf("%v signal received", sig))
				} else if err := forward(ctx, client, o.ID, sig); err != nil {
					cancel(fmt.Errorf("%v signal received: %w", sig, err))
				}
			}
		}
	}()
	return client.Exec(ctx, o)
}

func forward(ctx context.Context, client *agent.Client, id string, sig os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	return client.SignalExec(ctx, id, sig.(syscall.Signal))
}
