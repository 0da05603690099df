package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

// TestExecRefusesTooMany has 2,000 commands at one time.
func TestExecRefusesTooMany(t *testing.T) {
	const most, tried = 8, 2000
	conn := connect(t, Options{Env: os.Environ(), MaxExecs: most})
	client, agent := guestpb.NewGuestServiceClient(conn), guestpb.NewAgentServiceClient(conn)
	running := make([]*execution, most)
	for i := range running {
		running[i] = mustStart(t, client, sh("echo started; cat"))
		running[i].await(t, "started")
	}
	began := time.Now()
	var wg sync.WaitGroup
	ends := make([]ending, tried)
	for i := range ends {
		wg.Go(func() {
			e, err := startExec(limited(t), client, sh("exit"))
			if err != nil {
				ends[i] = ending{err: err}
				return
			}
			ends[i] = e.end()
		})
	}
	wg.Wait()
	for i, end := range ends {
		if status.Code(end.err) != codes.ResourceExhausted {
			t.Fatalf("call %d: got %+v, want code %v", i, end, codes.ResourceExhausted)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v, want 10s at most", took)
	}
	stats, err := agent.Stats(limited(t), &guestpb.StatsRequest{})
	if err != nil || stats.GetExecsActive() != most || stats.GetExecsStarted() != most || stats.GetExecsRejected() != tried {
		t.Errorf("got %v, %v, want %d active and started, %d rejected", stats, err, most, tried)
	}
	for _, e := range running { // they have not noticed
		if err := e.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if got := e.end(); got != (ending{}) {
			t.Errorf("got %+v, want success", got)
		}
	}
	if got := mustStart(t, client, sh("exit 5")).end(); got != (ending{code: 5}) {
		t.Errorf("afterwards: got %+v, want code 5", got)
	}
	wantNoChildren(t)
}

// TestExecInParallel has pairs of commands that see each other's effects, and
// commands that wait at the same time.
func TestExecInParallel(t *testing.T) {
	client := dial(t, Options{Env: os.Environ()})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for worker := range 5 {
		wg.Go(func() {
			for i := range 25 {
				want := strconv.Itoa(worker*100 + i)
				for _, script := range []string{"echo $N >$F", "test $(cat $F) = $N"} {
					start := sh(script)
					start.Env = map[string]string{"N": want, "F": dir + "/" + strconv.Itoa(worker)}
					e, err := startExec(limited(t), client, start)
					if err != nil {
						t.Error(err)
						return
					}
					if got := e.end(); got != (ending{}) {
						t.Errorf("%s: got %+v", script, got)
					}
				}
			}
		})
	}
	wg.Wait()
	began := time.Now()
	for range 5 {
		wg.Go(func() {
			e, err := startExec(limited(t), client, sh("sleep 1"))
			if err != nil {
				t.Error(err)
				return
			}
			if got := e.end(); got != (ending{}) {
				t.Errorf("got %+v", got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("five commands of a second took %v", took)
	}
}

// TestExecMuchInput sends 100 MB to a command that counts them.
func TestExecMuchInput(t *testing.T) {
	client := dial(t, Options{Env: os.Environ()})
	before := heapInUse()
	e := mustStart(t, client, sh("wc -c"))
	block := stdin(strings.Repeat("x", 100_000))
	for range 1000 {
		e.send(t, block)
	}
	if err := e.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got := e.end(); got != (ending{}) || strings.TrimSpace(e.stdout.String()) != "100000000" {
		t.Errorf("got %+v, %q, want 100000000", got, e.stdout.String())
	}
	if grown := int64(heapInUse()) - int64(before); grown > 8<<20 {
		t.Errorf("%d bytes more in use, want 8 MiB at most", grown)
	}
}

// TestExecInputUnread has a command that never reads: its client waits, and the
// agent keeps no more than a window of input.
func TestExecInputUnread(t *testing.T) {
	t.Parallel()
	start := sh("sleep 1000")
	start.TimeoutSeconds = 1
	e := mustStart(t, dial(t, Options{Env: os.Environ()}), start)
	sent := make(chan int)
	go func() {
		block := stdin(strings.Repeat("x", 32<<10))
		var total int
		for e.stream.Send(block) == nil {
			total += 32 << 10
		}
		sent <- total
	}()
	if got, want := e.end(), (ending{code: -1, signal: 9, timedOut: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if total := <-sent; total > 2<<20 {
		t.Errorf("sent %d bytes, want 2 MiB at most", total)
	}
}

// TestExecOutputUnread has a client that never reads what a command floods it
// with, and goes away.
func TestExecOutputUnread(t *testing.T) {
	// The client is in this process, and would take megabytes for each of them.
	conn := connect(t, Options{Env: os.Environ()}, grpc.WithStaticStreamWindowSize(64<<10))
	client, agent := guestpb.NewGuestServiceClient(conn), guestpb.NewAgentServiceClient(conn)
	before := heapInUse()
	var cancels []context.CancelFunc
	for range 20 {
		ctx, cancel := context.WithCancel(limited(t))
		defer cancel()
		cancels = append(cancels, cancel)
		e, err := startExec(ctx, client, sh("cat /dev/zero"))
		if err != nil {
			t.Fatal(err)
		}
		if end, last := e.recv(); last {
			t.Fatalf("got end %+v", end)
		}
	}
	if grown := int64(heapInUse()) - int64(before); grown > 32<<20 {
		t.Errorf("%d bytes more in use for 20 floods, want 32 MiB at most", grown)
	}
	for _, cancel := range cancels {
		cancel()
	}
	eventually(t, "no command is active", func() bool {
		stats, err := agent.Stats(limited(t), &guestpb.StatsRequest{})
		return err == nil && stats.GetExecsActive() == 0
	})
	wantNoChildren(t)
}

// TestDaemonHelper is no test but a command of TestExecDaemon, that leaves a
// daemon behind.
func TestDaemonHelper(t *testing.T) {
	if os.Getenv("KINDLING_TEST_DAEMON") == "" {
		return
	}
	daemon := exec.Command("/bin/sh", "-c", "sleep 1000; exit")
	daemon.Stdout, daemon.Stderr = os.Stdout, os.Stderr
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(daemon.Process.Pid)
	os.Exit(0)
}

// TestExecDaemon has a daemon that keeps the output, and lives on.
func TestExecDaemon(t *testing.T) {
	t.Parallel()
	began := time.Now()
	start := &guestpb.ExecStart{
		Command: []string{"/proc/" + strconv.Itoa(os.Getpid()) + "/exe", "-test.run=^TestDaemonHelper$"},
		Env:     map[string]string{"KINDLING_TEST_DAEMON": "1"},
	}
	e := mustStart(t, dial(t, Options{Env: os.Environ()}), start)
	if got := e.end(); got != (ending{}) {
		t.Errorf("got %+v, want success: %s", got, e.stderr.String())
	}
	if took := time.Since(began); took > outputGrace+3*time.Second {
		t.Errorf("took %v, want about %v", took, outputGrace)
	}
	killPrinted(t, e.stdout.String())
}
