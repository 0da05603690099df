package agentconformance

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/agent"
)

// connectionCases are about the connection and about calls as such.
var connectionCases = []testCase{
	{name: "connection: the agent answers", run: func(s *session) {
		if err := s.WaitReady(s.ctx); err != nil {
			s.Error(err)
		}
	}},
	{name: "connection: a lost one kills its commands, and the next call makes another", run: func(s *session) {
		var mu sync.Mutex
		var last net.Conn
		client := s.connect(func(ctx context.Context) (net.Conn, error) {
			conn, err := s.target.Dial(ctx)
			mu.Lock()
			defer mu.Unlock()
			last = conn
			return conn, err
		})
		r := s.start(s.ctx, client, agent.ExecOptions{Command: sh("echo $$; exec sleep 1000")})
		pid := r.see("\n")
		mu.Lock()
		err := last.Close()
		mu.Unlock()
		if err != nil {
			s.Fatal(err)
		}
		s.requireError(<-r.done, agent.ErrLost)
		if exit, err := client.Exec(s.ctx, agent.ExecOptions{Command: sh("exit 3")}); exit.Code != 3 || err != nil {
			s.Errorf("got %v, error %v, want 3", exit, err)
		}
		s.requireGone(pid)
	}},
	{name: "connection: a method that does not exist", run: func(s *session) {
		conn, _ := s.raw()
		for _, method := range []string{"/guest.GuestService/NoSuch", "/kindling.agent.v1.AgentService/NoSuch", "/no.Service/Method"} {
			err := conn.Invoke(s.ctx, method, &guestpb.StatPathRequest{}, &guestpb.StatPathResponse{})
			if code := status.Code(err); code != codes.Unimplemented && (code != codes.Unauthenticated || len(s.target.Options) == 0) {
				s.Errorf("%s: got error %v, want code %v", method, err, codes.Unimplemented)
			}
		}
	}},
	{name: "shutdown: a signal that does not exist is refused", run: func(s *session) {
		if err := s.Shutdown(s.ctx, agent.ShutdownOptions{Signal: 65}); err == nil {
			s.Error("shutdown by signal 65: got no error")
		}
	}},
}
