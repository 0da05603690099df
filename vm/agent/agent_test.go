package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if err := findLeaks(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// findLeaks looks for children and goroutines that no test has ended.
func findLeaks() error {
	pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	if !errors.Is(err, unix.ECHILD) {
		return fmt.Errorf("find leaks: a child is left (wait4: pid %d, %v)", pid, err)
	}
	// The last ones of a call end after it.
	var stacks []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		stacks = buf[:runtime.Stack(buf, true)]
		_, others, _ := bytes.Cut(stacks, []byte("\n\n"))
		if !bytes.Contains(others, []byte("kindling-vm/kindling")) {
			return nil
		}
	}
	return fmt.Errorf("find leaks: goroutines are left:\n%s", stacks)
}

// transports are the ways to the agent under which it must behave the same.
var transports = []struct {
	name    string
	connect func(t *testing.T, serverSocket string) *agent.Client
}{
	{"unix", func(t *testing.T, serverSocket string) *agent.Client {
		return newClient(t, serverSocket)
	}},
	{"hybrid", func(t *testing.T, serverSocket string) *agent.Client {
		return newHybridClient(t, serveHybrid(t, serverSocket).socket)
	}},
}

// onTransports runs a test against a new agent on every transport.
func onTransports(t *testing.T, test func(t *testing.T, c *agent.Client)) {
	t.Helper()
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			t.Parallel()
			test(t, transport.connect(t, serveAgent(t)))
		})
	}
}

// serveAgent runs the real service on a Unix socket.
func serveAgent(t *testing.T) (socket string) {
	t.Helper()
	return serve(t, server.New(server.Options{
		Env:  []string{"PATH=" + contract.DefaultPath, "KINDLING_BASE=base"},
		Kill: func(int, syscall.Signal) error { return nil },
	}))
}

func serve(t *testing.T, s *grpc.Server) (socket string) {
	t.Helper()
	listener := listen(t)
	serveOn(t, s, listener)
	return listener.Addr().String()
}

func serveOn(t *testing.T, s *grpc.Server, listener net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// listen listens on a Unix socket with a short name: 107 bytes is the limit.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newClient(t *testing.T, socket string, options ...agent.Option) *agent.Client {
	t.Helper()
	c, err := agent.NewClient(func(ctx context.Context) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", socket)
	}, options...)
	return closing(t, c, err)
}

func newHybridClient(t *testing.T, socket string) *agent.Client {
	t.Helper()
	c, err := agent.NewHybridClient(socket)
	return closing(t, c, err)
}

func closing(t *testing.T, c *agent.Client, err error) *agent.Client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A test may have closed it already, which gRPC tells with an error.
		if err := c.Close(); err != nil && !strings.Contains(err.Error(), "closing") {
			t.Error(err)
		}
	})
	return c
}

// limited is the test's context with a limit, so that what hangs fails.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// exitCode is for tests to which it does not matter what killed a command.
func exitCode(exit agent.ExitStatus, err error) (int, error) { return exit.Code, err }

// watcher is a writer that takes a line of process numbers and follows these
// processes, so that their end is seen even if their numbers are used again.
type watcher struct {
	t     *testing.T
	then  func() // called when the line has come
	line  []byte
	files []*os.File
}

func (w *watcher) Write(b []byte) (int, error) {
	w.line = append(w.line, b...)
	if line, _, found := bytes.Cut(w.line, []byte("\n")); found && w.files == nil {
		for _, field := range bytes.Fields(line) {
			f, err := follow(string(field))
			if err != nil {
				w.t.Errorf("follow process: %v", err)
				continue
			}
			w.files = append(w.files, f)
		}
		if w.then != nil {
			w.then()
		}
	}
	return len(b), nil
}

// follow opens a process.
func follow(number string) (*os.File, error) {
	pid, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return os.NewFile(uintptr(fd), "process "+number), nil
}

// requireEnd fails the test unless n processes were seen and all of them end.
func (w *watcher) requireEnd(n int) {
	w.t.Helper()
	if len(w.files) != n {
		w.t.Errorf("got %d processes from output %.80q, want %d", len(w.files), w.line, n)
	}
	for _, f := range w.files {
		w.awaitEnd(f)
		if err := f.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// awaitEnd waits for the end of a process. It need not be reaped.
func (w *watcher) awaitEnd(process *os.File) {
	w.t.Helper()
	poll := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(patience/time.Millisecond))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(poll, int(patience/time.Millisecond))
	}
	if n != 1 || err != nil {
		w.t.Errorf("%s has not ended (poll: %d, %v)", process.Name(), n, err)
	}
}
