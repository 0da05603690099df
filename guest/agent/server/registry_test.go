package server

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func TestSignalExec(t *testing.T) {
	conn := connect(t, Options{Env: os.Environ()})
	client, agent := guestpb.NewGuestServiceClient(conn), guestpb.NewAgentServiceClient(conn)
	signal := func(name string, number int32) error {
		_, err := agent.SignalExec(limited(t), &guestpb.SignalExecRequest{ExecId: name, Signal: number})
		return err
	}
	named := func(script string) *guestpb.ExecStart {
		start := sh(script)
		start.ExecId = "a"
		return start
	}
	for _, name := range []string{"", "a", strings.Repeat("x", 1<<20)} {
		if err := signal(name, 15); status.Code(err) != codes.NotFound {
			t.Errorf("signal %.10q before its start: got %v, want code %v", name, err, codes.NotFound)
		}
	}

	// The signal is for the whole group, and comes as often as it is sent.
	e := mustStart(t, client, named(`trap 'echo got' USR1
		(trap 'echo child got' USR1; echo child; while :; do sleep 0.01; done) &
		echo started; while :; do wait; done`))
	e.await(t, "started")
	e.await(t, "child\n")
	for _, number := range []int32{-1, 0, 65} {
		if err := signal("a", number); status.Code(err) != codes.InvalidArgument {
			t.Errorf("signal %d: got %v, want code %v", number, err, codes.InvalidArgument)
		}
	}
	if err := signal("a", 10); err != nil {
		t.Error(err)
	}
	e.await(t, "child got")
	if !strings.Contains(strings.ReplaceAll(e.stdout.String(), "child got", ""), "got") {
		e.stdout.Reset()
		e.await(t, "got")
	}
	if end := mustStart(t, client, named("exit")).end(); status.Code(end.err) != codes.AlreadyExists {
		t.Errorf("second command of the name: got %+v, want code %v", end, codes.AlreadyExists)
	}
	if err := signal("a", 9); err != nil {
		t.Error(err)
	}
	if got, want := e.end(), (ending{code: -1, signal: 9}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := signal("a", 15); status.Code(err) != codes.NotFound {
		t.Errorf("signal after the end: got %v, want code %v", err, codes.NotFound)
	}
	eventually(t, "the name is free", func() bool { // it is when the call's last message has come, or soon
		end := mustStart(t, client, named("exit 2")).end()
		return end == ending{code: 2}
	})
	start := named("x")
	start.Command = []string{"/kindling/none"}
	for range 2 { // what has not started has no name
		if end := mustStart(t, client, start).end(); status.Code(end.err) != codes.Unknown {
			t.Errorf("got %+v, want code %v", end, codes.Unknown)
		}
	}
}
