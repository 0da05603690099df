package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
)

// logTag starts the agent's log messages. The hypeman agent protocol gives it.
const logTag = "[guest-agent]"

const (
	cgroupRoot = "/sys/fs/cgroup"
	systemdDir = "/run/systemd/system"
)

// drainTime is how long calls may take to end once the agent is to end.
const drainTime = 500 * time.Millisecond

func run(args []string, logger *log.Logger) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	readyFD, err := takeEnv(contract.AgentReadyFDEnv)
	if err != nil {
		return err
	}
	readyFile, err := takeEnv(contract.AgentReadyFileEnv)
	if err != nil {
		return err
	}
	token, err := readToken(contract.AgentTokenFile)
	if err != nil {
		return err
	}
	options := server.Options{Env: os.Environ(), Kill: syscall.Kill, Token: token, Systemd: isSystemd(systemdDir)}
	root := cgroupRoot
	if options.Systemd {
		root = "" // the groups are systemd's
	}
	protection, problems := protect(root, "/proc")
	for _, problem := range problems {
		logger.Printf("%s protect agent: %v", logTag, problem)
	}
	options.Clock = clock.System()
	options.CommandGroup, options.ResetOOMScore = protection.commands, protection.scored

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	first, err := listenRetrying(ctx, listenVsock, logger)
	if err != nil {
		return err
	}
	listener := &hostListener{Listener: newRelistener(first, listenVsock, logger), logger: logger}
	options.Refused = listener.refused.Load
	ready := time.Now()
	logger.Print(contract.AgentListening)
	logger.Printf("%s %s ts=%s", logTag, contract.AgentReadyMarker, ready.UTC().Format(time.RFC3339Nano))
	if err := notifyReady(readyFD); err != nil {
		logger.Printf("%s notify init: %v", logTag, err)
	}
	if err := writeReadyFile(cmp.Or(readyFile, contract.AgentReadyFile), ready); err != nil {
		logger.Printf("%s %v", logTag, err)
	}
	go clock.Keep(ctx, options.Clock, logger)
	return serve(ctx, listener, options)
}

// takeEnv takes a variable out of the environment, so that commands do not find
// it.
func takeEnv(name string) (string, error) {
	value := os.Getenv(name)
	if err := os.Unsetenv(name); err != nil {
		return "", fmt.Errorf("unset %s: %w", name, err)
	}
	return value, nil
}

// readToken reads what callers must show. Only that there is no file means that
// they need nothing: whoever wanted a token does not want an agent without one.
func readToken(name string) (string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read agent token: %w", err)
	}
	token := strings.TrimSuffix(string(text), "\n")
	if token == "" {
		return "", fmt.Errorf("read agent token: %s is empty", name)
	}
	return token, nil
}

// isSystemd tells whether PID 1 is systemd, as sd_booted(3) does.
func isSystemd(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir()
}

// serve serves until the context ends, and then ends what still runs.
func serve(ctx context.Context, listener net.Listener, options server.Options) error {
	s := server.New(options)
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
