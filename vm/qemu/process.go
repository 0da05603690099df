package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxSaid bounds what is kept of what a program says on its standard error, in
// bytes.
const maxSaid = 8 << 10

// process is a running program that ends with this process at the latest.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // why it ended, once done is closed
}

func startProcess(cmd *exec.Cmd, stdout io.Writer) (*process, error) {
	said := &head{}
	cmd.Stdout = stdout
	cmd.Stderr = said
	// A grandchild that keeps the output open must not keep us waiting.
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Ctrl-C is for us: a machine gets a proper signal from us then.
		Setpgid: true,
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes with the death of the thread that started
		// the child, so this thread must live as long.
		runtime.LockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(said.String()))
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// kill ends the program and waits for its end, which is then no error.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
	}
	<-p.done
	return nil
}

// head keeps the first bytes written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	room := max(0, maxSaid-h.Len())
	h.Buffer.Write(p[:min(len(p), room)])
	return len(p), nil
}

// escape protects a value's commas from QEMU's option parser.
func escape(value string) string {
	return strings.ReplaceAll(value, ",", ",,")
}
