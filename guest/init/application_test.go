package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

// guest is a process in the role of init.
type guest struct {
	*exec.Cmd
	config io.WriteCloser
	output *bufio.Reader // what the application writes
	log    bytes.Buffer
}

// testProcess is a process in a role.
func testProcess(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", role)
	// Bazel's environment would make the test binary act for Bazel. The variable
	// keeps the race detector from waiting a second at each end.
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0", "TMPDIR=" + t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL} // at a timeout of the tests
	return cmd
}

// startGuest starts init and returns when it has caught its signals.
func startGuest(t *testing.T, args ...string) *guest {
	t.Helper()
	g := &guest{Cmd: testProcess(t, "init")}
	g.Args = append(g.Args, args...)
	g.Stderr = &g.log
	var err error
	if g.config, err = g.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := g.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.output = bufio.NewReader(output)
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	g.expect(t, "signals are caught")
	return g
}

// expect reads one line of output.
func (g *guest) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := g.output.ReadString('\n'); line != want+"\n" {
		t.Fatalf("output = %q, %v, want %q; log:\n%s", line, err, want, &g.log)
	}
}

func (g *guest) configure(t *testing.T, config *contract.Config) {
	t.Helper()
	if err := json.NewEncoder(g.config).Encode(config); err != nil {
		t.Fatal(err)
	}
	if err := g.config.Close(); err != nil {
		t.Fatal(err)
	}
}

// finish waits for the end and gives the rest of the output and the outcome.
func (g *guest) finish(t *testing.T) (string, contract.ExitInfo) {
	t.Helper()
	output, err := io.ReadAll(g.output)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("init: %v; log:\n%s", err, &g.log)
	}
	outcome, found := contract.FindExit(g.log.Bytes())
	if count := strings.Count(g.log.String(), contract.ExitMarker); !found || count != 1 {
		t.Fatalf("log has %d outcomes, want 1:\n%s", count, &g.log)
	}
	return string(output), outcome
}

// self is the test binary, by a name that other processes can use.
func self(t *testing.T) string {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// busy is a script's end that waits until a process is not even a zombie, and
// would not outlive a test that fails by much.
func busy(pid string, code int) string {
	return fmt.Sprintf("ulimit -t 20; while kill -0 %s 2>/dev/null; do :; done; exit %d", pid, code)
}

func TestApplication(t *testing.T) {
	dir := imagetest.RealPath(t, t.TempDir())
	imagetest.Place(t, dir, "bin/", "bin/dir/", "bin/plain", "file", "loop -> loop", "self -> "+self(t))
	for name, content := range map[string]string{
		"bin/shell":    "#!/bin/sh\necho $0 $*\n",
		"bin/text":     "echo text $*\n",
		"bin/empty":    "",
		"bin/orphaned": "#!/no/such/interpreter\n",
		"bin/foreign":  "\x7fELF\x02\x01\x01\x00",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exit := contract.NewExitInfo
	found := map[string]string{"PATH": "/no/such/folder:" + dir + "/bin"}
	const failed = "[ERROR] [hypeman-init:entrypoint] "
	tests := []struct {
		name    string
		config  contract.Config
		want    string // output
		outcome contract.ExitInfo
		log     string // a line of it, but for the marker of the start
	}{
		{"success", contract.Config{Cmd: sh("echo hello")}, "hello\n", exit(0), "[INFO] [hypeman-init:entrypoint] app exited with code 0 (success)"},
		{"entrypoint and cmd", contract.Config{Entrypoint: []string{"/bin/sh"}, Cmd: []string{"-c", "echo $0 $1; exit 3", "a b", "c"}}, "a b c\n", exit(3), failed + "app exited with code 3 (exit code 3)"},
		{"exit 255", contract.Config{Cmd: sh("exit 255")}, "", contract.NewPlainExitInfo(255), ""},
		{"killed", contract.Config{Cmd: sh("kill -KILL $$")}, "", contract.NewKillInfo(unix.SIGKILL), failed + "app exited with code 137 (killed by signal 9 (killed))"},
		{"exits as if killed", contract.Config{Cmd: sh("exit 137")}, "", contract.NewPlainExitInfo(137), failed + "app exited with code 137 (exit code 137)"},
		{"nothing to run", contract.Config{}, "", exit(0), ""},

		{"on PATH", contract.Config{Cmd: []string{"shell", "a b"}, Env: found}, dir + "/bin/shell a b\n", exit(0), ""},
		{"in the working directory", contract.Config{Cmd: []string{"bin/shell", "x"}, Workdir: dir}, "bin/shell x\n", exit(0), ""},
		{"in a working directory that is relative to /", contract.Config{Cmd: []string{"bin/shell", "x"}, Workdir: dir[1:]}, "bin/shell x\n", exit(0), ""},
		{"in a relative folder of PATH", contract.Config{Cmd: []string{"shell"}, Workdir: dir, Env: map[string]string{"PATH": "bin"}}, "bin/shell\n", exit(0), ""},
		{"text without an interpreter", contract.Config{Cmd: []string{"text", "a", "b c"}, Env: found}, "text a b c\n", exit(0), ""},
		{"empty file", contract.Config{Cmd: []string{"empty"}, Env: found}, "", exit(0), ""},

		{"not on PATH", contract.Config{Cmd: []string{"nothing"}, Env: found}, "", exit(127), failed + `find "nothing" on PATH: executable file not found in $PATH`},
		{"no name", contract.Config{Cmd: []string{""}, Env: found}, "", exit(127), failed + `find "" on PATH: executable file not found in $PATH`},
		{"no such file", contract.Config{Cmd: []string{"/no/such"}}, "", exit(127), failed + "stat /no/such: no such file or directory"},
		{"no such interpreter", contract.Config{Cmd: []string{dir + "/bin/orphaned"}}, "", exit(127), failed + "start " + dir + "/bin/orphaned: fork/exec " + dir + "/bin/orphaned: no such file or directory: the image does not have the interpreter that it names"},
		{"link loop", contract.Config{Cmd: []string{dir + "/loop"}}, "", exit(127), ""},
		{"folder", contract.Config{Cmd: []string{dir}}, "", exit(126), failed + "execute " + dir + ": permission denied"},
		{"folder on PATH", contract.Config{Cmd: []string{"dir"}, Env: found}, "", exit(126), ""},
		{"not executable", contract.Config{Cmd: []string{"plain"}, Env: found}, "", exit(126), failed + "execute " + dir + "/bin/plain: permission denied"},
		{"for another machine", contract.Config{Cmd: []string{"foreign"}, Env: found}, "", exit(126), failed + "start " + dir + "/bin/foreign: fork/exec " + dir + "/bin/foreign: exec format error"},
		{"NUL in an argument", contract.Config{Cmd: []string{"shell", "a\x00b"}, Env: found}, "", exit(126), ""},

		{"working directory is made", contract.Config{Cmd: sh("pwd"), Workdir: dir + "/made/new"}, dir + "/made/new\n", exit(0), ""},
		{"working directory is a file", contract.Config{Cmd: sh("pwd"), Workdir: dir + "/file"}, "", contract.ExitInfo{Code: 78, Message: "boot failed: entrypoint: make working directory: mkdir " + dir + "/file: not a directory"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.config.SkipGuestAgent = true
			g := startGuest(t)
			g.configure(t, &test.config)
			output, outcome := g.finish(t)
			if output != test.want {
				t.Errorf("output = %q, want %q", output, test.want)
			}
			if diff := cmp.Diff(test.outcome, outcome); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if lines := strings.Split(g.log.String(), "\n"); test.log != "" && !slices.Contains(lines, logStart+test.log) {
				t.Errorf("log has no line %s:\n%s", test.log, &g.log)
			}
		})
	}
}

// TestApplicationLog checks all of a log.
func TestApplicationLog(t *testing.T) {
	g := startGuest(t)
	g.configure(t, &contract.Config{Cmd: sh("echo of the application >&2; exit 4"), SkipGuestAgent: true})
	g.finish(t)
	want := logStart + "[INFO] [hypeman-init:boot] KINDLING-BOOT ready=1000000\n" +
		logStart + "[INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-02-13T15:26:27.000000999Z mode=exec\n" +
		"of the application\n" +
		logStart + "[ERROR] [hypeman-init:entrypoint] app exited with code 4 (exit code 4)\n" +
		logStart + `[INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=4 message="exit code 4"` + "\n"
	if diff := cmp.Diff(want, g.log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestStart checks what the application sees of its start.
func TestStart(t *testing.T) {
	dir := imagetest.RealPath(t, t.TempDir())
	imagetest.Place(t, dir, "self -> "+self(t))
	g := startGuest(t)
	g.configure(t, &contract.Config{
		Entrypoint:     []string{"./self", "report"},
		Cmd:            []string{"", "a b", "'\"$HOME\n", "é"},
		Workdir:        dir,
		Env:            map[string]string{"A": "b=c", "EMPTY": "", "Z": "two\nlines"},
		SkipGuestAgent: true,
	})
	output, _ := g.finish(t)
	var got report
	if err := json.Unmarshal([]byte(output), &got); err != nil {
		t.Fatalf("parse %q: %v", output, err)
	}
	want := report{
		Args:  []string{"./self", "report", "", "a b", "'\"$HOME\n", "é"},
		Env:   []string{"A=b=c", "EMPTY=", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "Z=two\nlines"},
		Dir:   dir,
		Input: "/dev/null",
		Leads: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("process (-want +got):\n%s", diff)
	}
}

// TestSignals sends init each signal that goes to the application, behind others
// that neither reach it nor end init.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH} {
		t.Run(sig.String(), func(t *testing.T) {
			g := startGuest(t)
			g.configure(t, &contract.Config{Cmd: []string{self(t), "leader"}, SkipGuestAgent: true})
			g.expectBoth(t, "leader is ready", "member is ready")
			for _, other := range []syscall.Signal{unix.SIGABRT, unix.SIGPIPE, unix.SIGSEGV, unix.SIGSYS, unix.SIGCHLD, unix.SIGPWR, sig} {
				if err := g.Process.Signal(other); err != nil {
					t.Fatal(err)
				}
			}
			g.expectBoth(t, "leader got "+sig.String(), "member got "+sig.String())
			if _, outcome := g.finish(t); outcome != contract.NewExitInfo(9) {
				t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(9))
			}
		})
	}
}

// expectBoth reads two lines of output in any order.
func (g *guest) expectBoth(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		line, err := g.output.ReadString('\n')
		if err != nil {
			t.Fatalf("read output: %v; log:\n%s", err, &g.log)
		}
		got = append(got, strings.TrimSuffix(line, "\n"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("output (-want +got):\n%s", diff)
	}
}

// TestEarlySignal sends init a signal before the application is there to get it.
func TestEarlySignal(t *testing.T) {
	g := startGuest(t)
	if err := g.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.configure(t, &contract.Config{Cmd: sh(busy("$$", 0)), SkipGuestAgent: true})
	if _, outcome := g.finish(t); outcome != contract.NewKillInfo(unix.SIGTERM) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewKillInfo(unix.SIGTERM))
	}
}

// TestSignalStorm sends init every signal that can be caught, from its start to
// its end. Some end the application; whatever happens, there is an outcome.
func TestSignalStorm(t *testing.T) {
	g := startGuest(t, "/bin/false", "1s")
	done := make(chan struct{})
	go func() {
		defer close(done)
		pace := time.NewTicker(time.Millisecond) // real-time signals queue up
		defer pace.Stop()
		for range pace.C {
			for number := syscall.Signal(1); number <= 64; number++ {
				switch number {
				case unix.SIGKILL, unix.SIGSTOP, 32, 33, 34: // the last are the C library's
					continue
				}
				if err := g.Process.Signal(number); err != nil {
					return // it has been waited for
				}
			}
		}
	}()
	g.configure(t, &contract.Config{Cmd: sh("trap '' TERM HUP QUIT INT USR1 USR2 WINCH; i=0; while [ $i -lt 200 ]; do (exit 1) & i=$((i+1)); done; exit 3")})
	_, outcome := g.finish(t)
	<-done
	// A signal can come before the shell ignores it.
	if outcome != contract.NewExitInfo(3) && !strings.HasPrefix(outcome.Message, "killed by signal ") {
		t.Errorf("outcome = %v, log:\n%s", outcome, &g.log)
	}
}

// TestReapsOrphan has an application that waits until its orphan is gone.
func TestReapsOrphan(t *testing.T) {
	const orphan = `orphan=$(sh -c 'sh -c "exit 5" >/dev/null & echo $!'); `
	g := startGuest(t)
	g.configure(t, &contract.Config{Cmd: sh(orphan + busy("$orphan", 7)), SkipGuestAgent: true})
	if _, outcome := g.finish(t); outcome != contract.NewExitInfo(7) {
		t.Errorf("outcome = %v, want %v", outcome, contract.NewExitInfo(7))
	}
}

// TestExitCodes has many children at a time, with orphans ending all the time.
func TestExitCodes(t *testing.T) {
	output, err := testProcess(t, "reaper").CombinedOutput()
	if want := fmt.Sprintln(reaperRuns, "are right"); string(output) != want || err != nil {
		t.Errorf("got %q, %v, want %q", output, err, want)
	}
}

// TestExitToken checks that the token of the config signs the outcome.
func TestExitToken(t *testing.T) {
	g := startGuest(t)
	g.configure(t, &contract.Config{Cmd: sh("exit 3"), SkipGuestAgent: true, ExitToken: "secret"})
	g.finish(t)
	lines := strings.Split(strings.TrimSpace(g.log.String()), "\n")
	if last := lines[len(lines)-1]; !contract.IsSigned(last, "secret") {
		t.Errorf("last line is not signed: %s", last)
	}
}
