package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

func serverOptions() server.Options {
	return server.Options{Env: os.Environ(), Kill: func(pid int, _ syscall.Signal) error {
		return fmt.Errorf("signal process %d: %w", pid, syscall.EPERM)
	}}
}

// TestServeStops ends the agent while a command runs.
func TestServeStops(t *testing.T) {
	t.Chdir(t.TempDir()) // the name of a socket must be short
	listener, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, serverOptions()) }()

	conn, err := grpc.NewClient("unix:"+filepath.Base(listener.Addr().String()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	callCtx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := guestpb.NewGuestServiceClient(conn).Exec(callCtx)
	if err != nil {
		t.Fatal(err)
	}
	start := &guestpb.ExecStart{Command: []string{"/bin/sh", "-c", "echo started; sleep 1000"}}
	if err := stream.Send(&guestpb.ExecRequest{Request: &guestpb.ExecRequest_Start{Start: start}}); err != nil {
		t.Fatal(err)
	}
	if resp, err := stream.Recv(); err != nil || strings.TrimSpace(string(resp.GetStdout())) != "started" {
		t.Fatalf("got %v, %v, want started", resp, err)
	}

	stop()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	// Every command is reaped when serve returns.
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left (wait4: pid %d, %v)", pid, err)
	}
	if resp, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, %v, want code %v", resp, err, codes.Unavailable)
	}
}
