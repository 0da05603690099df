package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// The test binary is also the programs that tests start. This is what the
// machine does:
const (
	// serialEnv is what QEMU prints at once.
	serialEnv = "KINDLING_TEST_SERIAL"
	// stoppedEnv is what it prints when the guest has been told to stop, with the
	// name of the signal in place of gotSignal. Without it, the machine ends by
	// itself.
	stoppedEnv = "KINDLING_TEST_STOPPED"
	// failureEnv is what it prints on its standard error instead.
	failureEnv = "KINDLING_TEST_FAILURE"
	// versionEnv is its version.
	versionEnv = "KINDLING_TEST_VERSION"
	// renewedEnv names a file for what a guest is told that goes on: its agent
	// serves nothing but that, and Shutdown.
	renewedEnv = "KINDLING_TEST_RENEWED"
	// argumentsEnv names a file for QEMU's arguments.
	argumentsEnv = "KINDLING_TEST_ARGUMENTS"

	stubborn  = "never" // as stoppedEnv
	gotSignal = "SIGNAL"
)

func TestMain(m *testing.M) {
	// Under nohup(1), what tests start would ignore a hang-up. Caught signals are
	// the default ones again in another program.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	programs := map[string]func() error{
		"qemu-system-x86_64":  fakeQEMU,
		"qemu-system-aarch64": fakeQEMU,
		"vhost-device-vsock":  fakeVhost,
		"cloud-hypervisor":    fakeCloudHypervisor,
		"kindling": func() error {
			main()
			return nil
		},
	}
	qemutest.Main(m, programs)
}

func fakeQEMU() error {
	signal.Ignore(syscall.SIGPIPE)
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Printf("QEMU emulator version %s\n", os.Getenv(versionEnv))
		return nil
	}
	if failure := os.Getenv(failureEnv); failure != "" {
		return errors.New(failure)
	}
	vhost, err := net.Dial("unix", qemutest.Argument("-chardev", "path="))
	if err != nil {
		return err
	}
	if name := os.Getenv(argumentsEnv); name != "" {
		if err := os.WriteFile(name, []byte(strings.Join(os.Args[1:], "\n")), 0o600); err != nil {
			return err
		}
	}
	fmt.Print(os.Getenv(serialEnv))
	stopped := os.Getenv(stoppedEnv)
	if stopped == "" {
		return nil
	}
	ended := make(chan error, 2)
	go func() { ended <- qemutest.ServeMonitor("", "") }()
	sig := make([]byte, 1)
	go func() {
		_, err := vhost.Read(sig)
		ended <- err
	}()
	if err := <-ended; err != nil {
		return err
	}
	fmt.Print(strings.ReplaceAll(stopped, gotSignal, unix.SignalName(syscall.Signal(sig[0]))))
	return nil
}

// fakeVhost brings the connection to QEMU together with an agent that uses it to
// stop the machine.
func fakeVhost() error {
	var socket, uds string
	for i, arg := range os.Args[:len(os.Args)-1] {
		switch arg {
		case "--socket":
			socket = os.Args[i+1]
		case "--uds-path":
			uds = os.Args[i+1]
		}
	}
	guest, err := net.Listen("unix", uds)
	if err != nil {
		return err
	}
	device, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	qemu, err := device.Accept()
	if err != nil {
		return err
	}
	kill := func(_ int, sig syscall.Signal) error {
		if os.Getenv(stoppedEnv) == stubborn {
			return nil
		}
		_, err := qemu.Write([]byte{byte(sig)})
		return err
	}
	if name := os.Getenv(renewedEnv); name != "" {
		return serveRenewed(guest, name, kill)
	}
	return serveAgent(guest, kill)
}

// serveAgent serves the real agent's service on a hybrid vsock socket.
func serveAgent(listener net.Listener, kill func(int, syscall.Signal) error) error {
	return server.New(server.Options{
		Env: []string{"PATH=" + contract.DefaultPath}, Kill: kill,
		ShutdownFile: filepath.Join(filepath.Dir(listener.Addr().String()), "shutdown.json"),
	}).Serve(hybridListener{listener})
}

type hybridListener struct{ net.Listener }

func (l hybridListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	want := "CONNECT 2222\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		return nil, fmt.Errorf("got %q, error %w", got, err)
	}
	_, err = io.WriteString(conn, "OK 1024\n")
	return conn, err
}

// host is a machine on which kindling runs.
type host struct {
	state    string
	programs *qemutest.Programs
}

func newHost(t *testing.T) *host {
	t.Helper()
	state := qemutest.ShortDir(t, "k, ")
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "KINDLING_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("BUILD_WORKING_DIRECTORY", "")
	programs := qemutest.Use(t, "qemu-system-x86_64", "qemu-system-aarch64", "vhost-device-vsock", "kindling")
	t.Setenv("KINDLING_STATE_DIR", state)
	t.Setenv("KINDLING_CACHE_DIR", filepath.Join(state, "cache"))
	t.Setenv("KINDLING_ARTIFACTS", writeArtifacts(t))
	t.Setenv("KINDLING_ACCEL", "tcg")
	t.Setenv(versionEnv, "11.1.2 (Debian 1:11.1.2)") // that of its monitor
	return &host{state: state, programs: programs}
}

// requireReleased checks that no program lives and no machine has files.
func (h *host) requireReleased(t *testing.T) {
	t.Helper()
	h.programs.RequireGone(t)
	if diff := cmp.Diff([]string(nil), h.machineFiles(t)); diff != "" {
		t.Errorf("machines' files (-want +got):\n%s", diff)
	}
}

// machineFiles are the files and folders that machines have.
func (h *host) machineFiles(t *testing.T) (names []string) {
	t.Helper()
	for _, folder := range []string{machinesFolder, locksFolder} {
		entries, err := os.ReadDir(filepath.Join(h.state, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != claimsLock {
				names = append(names, filepath.Join(folder, entry.Name()))
			}
		}
	}
	return names
}

// result is what a user sees of kindling.
type result struct {
	Code           int
	Stdout, Stderr string
}

// kindling runs the command line in this process.
func kindling(args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// user is someone in front of a kindling in a process of its own.
type user struct {
	*exec.Cmd
	stdout *os.File
	stderr bytes.Buffer
}

func startUser(t *testing.T, args ...string) *user {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	u := &user{Cmd: exec.Command("kindling", args...), stdout: read}
	u.Stdout, u.Cmd.Stderr = write, &u.stderr
	if err := errors.Join(u.Start(), write.Close(), read.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(read.Close(), u.Process.Kill()); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
	return u
}

// see waits for output.
func (u *user) see(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(u.stdout, got); err != nil || string(got) != want {
		t.Fatalf("got output %q, error %v, want %q", got[:n], err, want)
	}
}

func (u *user) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := u.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// wait gives the output behind what was seen. The code is -1 of a kindling that
// a signal killed.
func (u *user) wait(t *testing.T) result {
	t.Helper()
	rest, err := io.ReadAll(u.stdout)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := u.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{u.ProcessState.ExitCode(), string(rest), u.stderr.String()}
}
