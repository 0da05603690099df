// Package process runs the programs that a machine consists of. It knows
// nothing of what they do.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxSaid bounds what is kept of what a program says on its standard error,
	// in bytes.
	maxSaid = 8 << 10
	// drainTime is how long the reader of a killed program's output may take to
	// get what is left of it.
	drainTime = time.Second
)

// Process is a running program that ends with this process at the latest.
type Process struct {
	cmd      *exec.Cmd
	killOnce sync.Once
	killed   chan struct{}
	done     chan struct{} // closed when it has ended and its output is written
	err      error         // why it ended, once done is closed; being killed is none
}

// Start starts a program. Its output goes to stdout, however long that takes.
// cmd.ExtraFiles stay the caller's to close.
func Start(cmd *exec.Cmd, stdout io.Writer) (*Process, error) {
	p := &Process{cmd: cmd, killed: make(chan struct{}), done: make(chan struct{})}
	said := &head{}
	cmd.Stderr = said
	// A grandchild that keeps it open must not keep us waiting.
	cmd.WaitDelay = drainTime
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Ctrl-C is for us: a machine gets a proper signal from us then.
		Setpgid: true,
	}
	output, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	cmd.Stdout = write
	started := make(chan error)
	go func() {
		// The parent-death signal comes with the death of the thread that started
		// the child, so this thread must live as long.
		runtime.LockOSThread()
		err := errors.Join(cmd.Start(), write.Close())
		started <- err
		if err == nil {
			p.wait(output, stdout, said)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), errors.Join(err, output.Close()))
	}
	return p, nil
}

// wait copies the program's output and waits for its end.
func (p *Process) wait(output *os.File, stdout io.Writer, said *head) {
	defer close(p.done)
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(stdout, output)
		copied <- errors.Join(err, output.Close())
	}()
	err := p.cmd.Wait()
	if p.wasKilled() && isKill(p.cmd.ProcessState) {
		err = nil
	}
	if err != nil {
		p.err = fmt.Errorf("%s: %w", p.Name(), err)
		if text := strings.TrimSpace(said.String()); text != "" {
			p.err = fmt.Errorf("%w: %s", p.err, text)
		}
	}
	select {
	case err := <-copied:
		p.err = errors.Join(p.err, err)
	case <-p.killed:
		select {
		case err := <-copied:
			p.err = errors.Join(p.err, err)
		case <-time.After(drainTime): // stdout's reader has stopped reading
		}
	}
}

// Done is closed when the program has ended and its output is written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is why the program ended, with the first of what it said on its standard
// error. It is for use once Done is closed. Neither success nor a Kill is an
// error.
func (p *Process) Err() error { return p.err }

// Kill ends the program, if it has not ended, and waits for its end. What it
// left to tell is in Err.
func (p *Process) Kill() error {
	p.killOnce.Do(func() { close(p.killed) })
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.Name(), err)
	}
	<-p.done
	return nil
}

func (p *Process) wasKilled() bool {
	select {
	case <-p.killed:
		return true
	default:
		return false
	}
}

func isKill(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Name is the name of the program's file.
func (p *Process) Name() string { return filepath.Base(p.cmd.Path) }

// head keeps the first bytes written to it. A grandchild may write while it is
// read.
type head struct {
	mu    sync.Mutex
	bytes []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = append(h.bytes, p[:min(len(p), maxSaid-len(h.bytes))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.bytes)
}
