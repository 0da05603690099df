package server

import (
	"context"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// TestToken calls a method of each kind and service. A copy whose messages
// nobody takes shows that they are not read.
func TestToken(t *testing.T) {
	const token = "s3cret"
	tests := []struct {
		name   string
		needed string
		shown  []string
		want   codes.Code
	}{
		{"needed and shown", token, []string{"Bearer s3cret"}, codes.OK},
		{"not needed", "", nil, codes.OK},
		{"not needed but shown", "", []string{"Bearer x"}, codes.OK},
		{"none", token, nil, codes.Unauthenticated},
		{"empty", token, []string{""}, codes.Unauthenticated},
		{"no token in it", token, []string{"Bearer "}, codes.Unauthenticated},
		{"wrong", token, []string{"Bearer s3creT"}, codes.Unauthenticated},
		{"longer", token, []string{"Bearer s3cretx"}, codes.Unauthenticated},
		{"without Bearer", token, []string{"s3cret"}, codes.Unauthenticated},
		{"two, one of them right", token, []string{"Bearer s3cret", "Bearer x"}, codes.Unauthenticated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var signals int
			conn := connect(t, Options{Token: test.needed, Env: os.Environ(), Kill: func(int, syscall.Signal) error { signals++; return nil }})
			ctx := limited(t)
			for _, value := range test.shown {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
			}
			client, agent := guestpb.NewGuestServiceClient(conn), guestpb.NewAgentServiceClient(conn)
			_, helloErr := agent.Hello(ctx, &guestpb.HelloRequest{})
			_, shutdownErr := client.Shutdown(ctx, &guestpb.ShutdownRequest{})
			e, err := startExec(ctx, client, sh("exit"))
			if err != nil {
				t.Fatal(err)
			}
			for method, err := range map[string]error{"Hello": helloErr, "Shutdown": shutdownErr, "Exec": e.end().err} {
				if status.Code(err) != test.want {
					t.Errorf("%s: got error %v, want code %v", method, err, test.want)
				}
			}
			if want := test.want == codes.OK; (signals > 0) != want {
				t.Errorf("init got %d signals", signals)
			}
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(limited(t), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("health: %v", err)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	client := grpc_health_v1.NewHealthClient(connect(t, Options{}))
	const isServing, isUnknown = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	tests := []struct {
		service string
		code    codes.Code
		watched grpc_health_v1.HealthCheckResponse_ServingStatus
	}{
		{"", codes.OK, isServing},
		{"guest.GuestService", codes.OK, isServing},
		{"kindling.agent.v1.AgentService", codes.OK, isServing},
		{"none", codes.NotFound, isUnknown},
	}
	for _, test := range tests {
		req := &grpc_health_v1.HealthCheckRequest{Service: test.service}
		resp, err := client.Check(limited(t), req)
		if status.Code(err) != test.code || err == nil && resp.GetStatus() != isServing {
			t.Errorf("%q: got %v, %v, want code %v", test.service, resp, err, test.code)
		}
		ctx, cancel := context.WithCancel(limited(t))
		stream, err := client.Watch(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := stream.Recv(); err != nil || resp.GetStatus() != test.watched {
			t.Errorf("watch %q: got %v, %v, want %v", test.service, resp, err, test.watched)
		}
		cancel()
		if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
			t.Errorf("watch %q: got %v, want code %v", test.service, err, codes.Canceled)
		}
	}
}

func TestHello(t *testing.T) {
	resp, err := guestpb.NewAgentServiceClient(connect(t, Options{})).Hello(limited(t), &guestpb.HelloRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetProtocol() != contract.AgentProtocol || len(resp.GetBootId()) != 36 {
		t.Errorf("got %v", resp)
	}
	names := resp.GetCapabilities()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) || strings.TrimSpace(names[0]) == "" {
		t.Errorf("capabilities %q are not sorted names, each once", names)
	}
	for _, name := range []string{
		"clock", "exec-limits", "exec-user", "identity", "network", "random", "shutdown", "signal", "stat", "stats", "tar", "tty-eof",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("capabilities %q have no %q", names, name)
		}
	}
}
