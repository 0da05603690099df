package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// startedFD is the descriptor on which the process of a detached machine writes
// one byte once its hypervisor runs.
const startedFD = 3

// detach has another process run the machine, and prints its name once its
// hypervisor runs. Until then what the process says is said here.
func (r *request) detach(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if r.Manifest == "" && r.Set == "" && r.Kernel == "" {
		// It is found by how this process was started.
		if r.Manifest, err = builtSet(r.Arch); err != nil {
			return err
		}
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find kindling: %w", err)
	}
	// Not by its arguments: those of a process are for all to see.
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("pass on request: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start machine in the background: %w", err)
	}
	cmd := exec.Command(executable, "supervise")
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = bytes.NewReader(data), stderr, []*os.File{write}
	// A terminal that goes away is not this machine's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), write.Close()); err != nil {
		return errors.Join(fmt.Errorf("start machine in the background: %w", err), read.Close())
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended
	})
	defer stop()
	_, err = io.ReadFull(read, make([]byte, 1))
	if err := errors.Join(ignoreEOF(err), read.Close()); err != nil {
		return fmt.Errorf("wait for machine in the background: %w", err)
	}
	if err == nil {
		if _, err := fmt.Fprintln(stdout, r.Name); err != nil {
			return fmt.Errorf("print name of machine %s: %w", r.Name, err)
		}
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exitWith(exit.ExitCode(), "") // it has said why
	}
	return fmt.Errorf("start machine in the background: %w", cmp.Or(err, errors.New("it ended before its start")))
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// superviseCommand is what run -d starts.
func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Short:  "Run the machine that standard input describes, for kindling run -d",
		Hidden: true,
		Args:   usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			unix.CloseOnExec(startedFD)
			r := request{}
			decoder := json.NewDecoder(cmd.InOrStdin())
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&r); err != nil {
				return usageError{fmt.Errorf("read request of kindling run -d: %w", err)}
			}
			if err := r.check(); err != nil {
				return usageError{err}
			}
			return r.run(cmd.Context(), io.Discard, cmd.ErrOrStderr(), func(dir string) error {
				if err := background(dir); err != nil {
					return fmt.Errorf("go to the background: %w", err)
				}
				return nil
			})
		},
	}
}

// background lets go of the process that started this one. From here on output
// goes to a file in the machine's folder.
func background(dir string) (err error) {
	log, err := os.OpenFile(filepath.Join(dir, supervisorFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	for _, fd := range []int{unix.Stdout, unix.Stderr} {
		if err := unix.Dup3(int(log.Fd()), fd, 0); err != nil {
			return err
		}
	}
	started := os.NewFile(startedFD, "pipe to kindling run -d")
	_, err = started.Write([]byte{0})
	return errors.Join(err, started.Close())
}
