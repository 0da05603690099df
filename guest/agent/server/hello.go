package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// capabilities are the names of what the agent serves beyond the agent
// protocol 0.0.7, sorted:
//
//	clock        SyncClock
//	exec-limits  umask and rlimits of ExecStart
//	exec-user    user of ExecStart
//	identity     RebindIdentity
//	network      ReconfigureNetwork
//	random       ReseedRandom
//	shutdown     grace_seconds and reason of ShutdownRequest
//	signal       exec_id of ExecStart, SignalExec, signal and timed_out of ExecResponse
//	stat         what StatPathResponse has from field 100 on
//	stats        Stats
//	tar          ExtractTar and CreateTar
//	tty-eof      the end of the request stream is that of a terminal's input
var capabilities = []string{"clock", "exec-limits", "exec-user", "identity", "network", "random", "shutdown", "signal", "stat", "stats", "tar", "tty-eof"}

// Hello tells what the agent is.
func (s *service) Hello(context.Context, *guestpb.HelloRequest) (*guestpb.HelloResponse, error) {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read boot ID: %w", err)
	}
	return &guestpb.HelloResponse{
		Protocol:     contract.AgentProtocol,
		Capabilities: slices.Clone(capabilities),
		BootId:       strings.TrimSpace(string(bootID)),
	}, nil
}
