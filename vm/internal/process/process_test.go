package process

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// startFake starts the fake program.
func startFake(t *testing.T, mode string, stdout io.Writer) (p *Process, programs *qemutest.Programs) {
	t.Helper()
	programs = qemutest.Use(t, "program")
	t.Setenv(programEnv, mode)
	p, err := Start(exec.Command("program"), stdout)
	if err != nil {
		t.Fatal(err)
	}
	return p, programs
}

func await(t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(processtest.Patience):
		t.Fatal("process has not ended")
	}
}

func TestProcessOutput(t *testing.T) {
	var got bytes.Buffer
	p, _ := startFake(t, "prints", &got)
	await(t, p)
	if p.err != nil {
		t.Error(p.err)
	}
	want := processtest.LongText
	if got.String() != want {
		t.Errorf("got %d bytes, want %d", got.Len(), len(want))
	}
}

func TestProcessFails(t *testing.T) {
	p, _ := startFake(t, "fails", io.Discard)
	await(t, p)
	want := "program: exit status 1: could not open disk"
	if p.err == nil || p.err.Error() != want {
		t.Errorf("got error %v, want %s", p.err, want)
	}
	// A kill comes too late and changes nothing.
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	processtest.RequireError(t, p.err, want)
}

func TestProcessSaysNothing(t *testing.T) {
	p, programs := startFake(t, "starts", io.Discard)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, p)
	programs.RequireGone(t)
	if want := "program: signal: killed"; p.err == nil || p.err.Error() != want {
		t.Errorf("got error %v, want %s", p.err, want)
	}
}

func TestProcessSaysMuch(t *testing.T) {
	said := &head{}
	// io.Copy must not find a way around Write.
	if _, err := io.Copy(said, strings.NewReader("a"+strings.Repeat("b", 1<<20))); err != nil {
		t.Fatal(err)
	}
	want := "a" + strings.Repeat("b", maxSaid-1)
	if diff := cmp.Diff(want, said.String()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestProcessMissing(t *testing.T) {
	qemutest.Use(t)
	_, err := Start(exec.Command("program"), io.Discard)
	processtest.RequireError(t, err, "start program: ", "not found")
}

// failing is a full disk.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestProcessOutputFails(t *testing.T) {
	want := errors.New("disk is full")
	p, _ := startFake(t, "prints", failing{want})
	await(t, p)
	if !errors.Is(p.err, want) {
		t.Errorf("got error %v, want %v", p.err, want)
	}
	if !p.cmd.ProcessState.Success() {
		t.Errorf("process ended with %v, want success", p.cmd.ProcessState)
	}
}

func TestProcessKill(t *testing.T) {
	stdout := processtest.NewOutput()
	p, programs := startFake(t, "starts", stdout)
	stdout.Await(t)
	processtest.RequireKill(t, p, programs)
	if p.err != nil {
		t.Errorf("got error %v, want none of a killed process", p.err)
	}
}

// stuck is a terminal that shows nothing more.
type stuck struct{ entered, leave chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	close(s.entered)
	<-s.leave
	return len(p), nil
}

func TestProcessKillWithStuckOutput(t *testing.T) {
	stdout := stuck{make(chan struct{}), make(chan struct{})}
	defer close(stdout.leave)
	p, programs := startFake(t, "starts", stdout)
	<-stdout.entered
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	programs.RequireGone(t)
}

func TestProcessDiesWithParent(t *testing.T) {
	qemutest.Use(t, "parent", "child")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if err := read.SetReadDeadline(time.Now().Add(processtest.Patience)); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command("parent")
	parent.Stderr = os.Stderr
	parent.ExtraFiles = []*os.File{write}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	up := make([]byte, 2)
	if _, err := io.ReadFull(read, up); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("parent has ended well, want it killed")
	}
	// The end of the pipe comes with the last process that has it.
	if rest, err := io.ReadAll(read); err != nil || len(rest) > 0 {
		t.Errorf("got %q, error %v, want the child's end", rest, err)
	}
}
