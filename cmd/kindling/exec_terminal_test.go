package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// typist is a user at a terminal on which kindling runs.
type typist struct {
	*exec.Cmd
	screen  *os.File // the user's end
	program *os.File // kindling's end
	before  *unix.Termios
	seen    bytes.Buffer
}

func sitDown(t *testing.T, args ...string) *typist {
	t.Helper()
	screen, program, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	u := &typist{Cmd: exec.Command("kindling", args...), screen: screen, program: program}
	u.Stdin, u.Stdout, u.Stderr = program, program, program
	u.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	u.before = settings(t, program)
	if err := errors.Join(setSize(screen, 30, 100), screen.SetReadDeadline(time.Now().Add(patience)), u.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := errors.Join(screen.Close(), program.Close()); err != nil {
			t.Error(err)
		}
	})
	return u
}

func settings(t *testing.T, terminal *os.File) (got *unix.Termios) {
	t.Helper()
	err := onDescriptor(terminal, func(fd int) (err error) {
		got, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// see reads until the screen has a text that was not there before.
func (u *typist) see(t *testing.T, want string) {
	t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(u.seen.String(), want) {
		n, err := u.screen.Read(buf)
		if err != nil {
			t.Fatalf("got %q, error %v, want %q", u.seen.String(), err, want)
		}
		u.seen.Write(buf[:n])
	}
	_, rest, _ := strings.Cut(u.seen.String(), want)
	u.seen.Reset()
	u.seen.WriteString(rest)
}

func (u *typist) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(u.screen, keys); err != nil {
		t.Fatal(err)
	}
}

// requireEnd checks the exit code, and that the terminal is as it was.
func (u *typist) requireEnd(t *testing.T, code int) {
	t.Helper()
	var exit *exec.ExitError
	if err := u.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := u.ProcessState.ExitCode(); got != code {
		t.Errorf("got exit code %d, want %d", got, code)
	}
	if diff := cmp.Diff(u.before, settings(t, u.program)); diff != "" {
		t.Errorf("terminal's settings (-before +after):\n%s", diff)
	}
}

// untilDone is a script's wait which traps interrupt, without its shell telling of
// children that the same signals kill.
const untilDone = "while :; do sleep 0.02; done 2>/dev/null"

func TestExecTerminal(t *testing.T) {
	startMachine(t, "web")
	u := sitDown(t, "exec", "-it", "web", "--", "sh", "-c",
		`stty -echo; trap 'stty size' WINCH; trap 'echo interrupted; exit 7' INT; tty -s && stty size; read line; echo "got $line"; `+untilDone)
	u.see(t, "30 100\r\n")
	u.press(t, "hello\r")
	u.see(t, "got hello\r\n")
	if err := setSize(u.screen, 50, 132); err != nil {
		t.Fatal(err)
	}
	u.see(t, "50 132\r\n")
	u.press(t, "\x03")
	u.see(t, "interrupted\r\n")
	u.requireEnd(t, 7)
}

// Both ends of the terminal have it that Ctrl-C kills the command only.
func TestExecTerminalInterrupt(t *testing.T) {
	startMachine(t, "web")
	u := sitDown(t, "exec", "--tty", "--interactive", "web", "--", "sh", "-c", "echo ready; exec sleep 1000")
	u.see(t, "ready\r\n")
	u.press(t, "\x03")
	u.requireEnd(t, 128+int(syscall.SIGINT))
}

// Whatever ends kindling, the user's shell gets a terminal that it can use.
func TestExecTerminalIsRestored(t *testing.T) {
	startMachine(t, "web")
	for _, sig := range stopSignals {
		u := sitDown(t, "exec", "-it", "web", "--", "sh", "-c", "echo ready; exec sleep 1000")
		u.see(t, "ready\r\n")
		if got := settings(t, u.program); got.Lflag&unix.ICANON != 0 {
			t.Error("terminal is not raw while the command runs")
		}
		if err := u.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		u.see(t, sig.String()+" signal received")
		u.requireEnd(t, exitOwn)
	}
	u := sitDown(t, "exec", "-it", "other", "--", "true")
	u.see(t, "kindling: no machine called other is running\r\n")
	u.requireEnd(t, exitOwn)
}

// Without -i, keys are not the command's, but the size is.
func TestExecTerminalWithoutInput(t *testing.T) {
	startMachine(t, "web")
	u := sitDown(t, "exec", "-t", "web", "--", "sh", "-c", "stty size; exit 4")
	u.see(t, "30 100\r")
	u.requireEnd(t, 4)
	if diff := cmp.Diff(result{0, "24 80\r\n", ""}, kindling("exec", "-t", "web", "--", "stty", "size")); diff != "" {
		t.Errorf("without any terminal (-want +got):\n%s", diff)
	}
}

func TestExecSignals(t *testing.T) {
	startMachine(t, "web")
	for _, sig := range stopSignals {
		u := startUser(t, "exec", "web", "--", "sh", "-c", `trap 'echo caught; exit 3' INT TERM HUP; echo ready; `+untilDone)
		u.see(t, "ready\n")
		u.signal(t, sig)
		if diff := cmp.Diff(result{3, "caught\n", ""}, u.wait(t)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", sig, diff)
		}
		u = startUser(t, "exec", "web", "--", "sh", "-c", "echo ready; exec sleep 1000")
		u.see(t, "ready\n")
		u.signal(t, sig)
		if diff := cmp.Diff(result{128 + int(sig.(syscall.Signal)), "", ""}, u.wait(t)); diff != "" {
			t.Errorf("%v, not caught (-want +got):\n%s", sig, diff)
		}
	}
}

func TestExecThirdSignal(t *testing.T) {
	startMachine(t, "web")
	u := startUser(t, "exec", "web", "--", "sh", "-c", `trap 'echo int' INT; trap 'echo term' TERM; trap "" HUP; echo ready; `+untilDone)
	u.see(t, "ready\n")
	u.signal(t, syscall.SIGINT)
	u.see(t, "int\n")
	u.signal(t, syscall.SIGTERM)
	u.see(t, "term\n")
	u.signal(t, syscall.SIGHUP)
	want := result{exitOwn, "", "kindling: exec in guest: hangup signal received\n"}
	if diff := cmp.Diff(want, u.wait(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExecKilled(t *testing.T) {
	startMachine(t, "web")
	if got := kindling("exec", "web", "--", "sh", "-c", "kill -SEGV $$"); got.Code != 128+int(syscall.SIGSEGV) {
		t.Errorf("got %+v, want code %d", got, 128+int(syscall.SIGSEGV))
	}
	want := result{exitTimedOut, "", "kindling: command in machine web did not end within its time\n"}
	if diff := cmp.Diff(want, kindling("exec", "--timeout", "1ms", "web", "--", "sleep", "1000")); diff != "" {
		t.Errorf("over its time (-want +got):\n%s", diff)
	}
	if got := kindling("exec", "-u", "kindling-none", "web", "--", "true"); got.Code == 0 || !strings.Contains(got.Stderr, "kindling-none") {
		t.Errorf("as a user that does not exist: got %+v, want an error", got)
	}
}

// oldAgent is as much of an agent of the first protocol as runs a command.
type oldAgent struct {
	guestpb.UnimplementedGuestServiceServer
}

func (oldAgent) Exec(stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	argv := first.GetStart().GetCommand()
	cmd := exec.CommandContext(stream.Context(), argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + contract.DefaultPath}
	cmd.Stdout = sender{stream}
	_ = cmd.Run()
	return stream.Send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_ExitCode{ExitCode: int32(cmd.ProcessState.ExitCode())}})
}

// sender sends what is written.
type sender struct {
	stream grpc.BidiStreamingServer[guestpb.ExecRequest, guestpb.ExecResponse]
}

func (s sender) Write(b []byte) (int, error) {
	return len(b), s.stream.Send(&guestpb.ExecResponse{Response: &guestpb.ExecResponse_Stdout{Stdout: b}})
}

// An agent of the first protocol knows no signals in either direction.
func TestExecOldAgent(t *testing.T) {
	startMachineWith(t, "web", func(listener net.Listener) {
		s := grpc.NewServer(grpc.WaitForHandlers(true))
		guestpb.RegisterGuestServiceServer(s, oldAgent{})
		_ = s.Serve(hybridListener{listener})
		s.Stop()
	})
	want := result{exitOwn, "", "kindling: command in machine web was killed\n"}
	if diff := cmp.Diff(want, kindling("exec", "web", "--", "/bin/sh", "-c", "kill -KILL $$")); diff != "" {
		t.Errorf("killed (-want +got):\n%s", diff)
	}
	u := startUser(t, "exec", "web", "--", "/bin/sh", "-c", "echo ready; exec sleep 1000")
	u.see(t, "ready\n")
	u.signal(t, syscall.SIGINT)
	if got := u.wait(t); got.Code != exitOwn || !strings.HasPrefix(got.Stderr, "kindling: exec in guest: interrupt signal received: signal command: ") {
		t.Errorf("interrupted: got %+v, want code %d and the reason", got, exitOwn)
	}
}

// openTerminal opens both ends of a new terminal: that of the user, and that of
// the programs.
func openTerminal() (user, program *os.File, err error) {
	if user, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	err = onDescriptor(user, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		if err != nil {
			return err
		}
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
		return err
	})
	return user, program, err
}

func setSize(terminal *os.File, rows, cols uint32) error {
	return onDescriptor(terminal, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(cols)})
	})
}
