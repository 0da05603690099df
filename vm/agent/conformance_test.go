package agent_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent/agentconformance"
)

// capabilities are those of the agent in this tree.
var capabilities = []string{
	agentconformance.TTY, agentconformance.Files, agentconformance.User, agentconformance.Limits,
	agentconformance.Signal, agentconformance.Stats, agentconformance.TTYEnd,
}

// TestConformance runs the suite on every transport that needs no machine.
func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		listener := bufconn.Listen(64 << 10)
		serveOn(t, server.New(server.Options{
			Env:  []string{"PATH=" + contract.DefaultPath},
			Kill: refuseSignal,
		}), listener)
		agentconformance.Run(t, agentconformance.Target{Dial: listener.DialContext, Capabilities: capabilities})
	})
	t.Run("unix", func(t *testing.T) {
		socket := serveAgent(t)
		agentconformance.Run(t, agentconformance.Target{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
			Capabilities: capabilities,
		})
	})
	t.Run("hybrid", func(t *testing.T) {
		agentconformance.Run(t, agentconformance.Hybrid(serveHybrid(t, serveAgent(t)).socket, capabilities...))
	})
}

func refuseSignal(int, syscall.Signal) error { return errors.New("not in a test") }

// TestConformanceCasesAreDocumented compares the suite with docs/agent.md.
func TestConformanceCasesAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## The conformance suite\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		if name, isCase := strings.CutPrefix(line, "- "); isCase {
			documented = append(documented, strings.TrimSpace(name))
		}
	}
	if names := agentconformance.Names(); !slices.Equal(documented, names) {
		t.Errorf("docs/agent.md lists\n%s\nwant\n%s", strings.Join(documented, "\n"), strings.Join(names, "\n"))
	}
}
