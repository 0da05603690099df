package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
)

const (
	// stopTimeout is how long an interrupted guest has to stop.
	stopTimeout = 5 * time.Second

	// logSize bounds each of a machine's two logs, in bytes: kindling keeps those
	// of many machines.
	logSize = 16 << 20
)

// withSerial gives a machine a serial port whose output goes to the logs in its
// folder, to the file that the user named, and to stdout: all of it for a
// console, else what is the application's.
func (r *request) withSerial(dir string, stdout io.Writer, boot func(serial io.Writer) error) (err error) {
	serial, err := vm.OpenSerialLog(filepath.Join(dir, serialFile), logSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, serial.Close()) }()
	application, err := vm.OpenSerialLog(filepath.Join(dir, outputFile), logSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, application.Close()) }()
	applicationOf := vm.NewAppOutput
	if r.Snapshot != "" {
		applicationOf = vm.ContinueAppOutput
	}
	logged, output := applicationOf(application), applicationOf(stdout)
	sinks := []*sink{{Writer: serial}, {Writer: logged}}
	if r.Console {
		sinks = append(sinks, &sink{Writer: stdout})
	} else {
		sinks = append(sinks, &sink{Writer: output})
	}
	if r.SerialLog != "" {
		file, err := os.OpenFile(r.SerialLog, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("open serial log: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		sinks = append(sinks, &sink{Writer: file})
	}
	var writers []io.Writer
	for _, sink := range sinks {
		writers = append(writers, sink)
	}
	if err := boot(io.MultiWriter(writers...)); err != nil {
		return err
	}
	err = logged.Flush()
	for _, sink := range sinks {
		err = errors.Join(err, sink.err)
	}
	if err == nil {
		err = output.Flush()
	}
	return err
}

// sink is a writer whose failure does not keep the output from others: it gives
// no errors and keeps the first one.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.Writer.Write(p)
	}
	return len(p), nil
}

// outcome is how the application ended, by the serial log.
func outcome(serialLog string) error {
	info, err := vm.ReadExit(serialLog)
	usual := info == contract.NewExitInfo(info.Code) || info == contract.NewPlainExitInfo(info.Code)
	switch {
	case errors.Is(err, vm.ErrNoExit):
		text, err := os.ReadFile(serialLog)
		if err != nil {
			return fmt.Errorf("read serial log: %w", err)
		}
		return fmt.Errorf("machine ended without saying how; --serial-log keeps its output, which ends in\n%s", lastLines(string(text), 20))
	case err != nil:
		return err
	case info.Code == contract.ExitBootFailed && !usual:
		return errors.New(info.Message)
	case info.Code == contract.ExitNotExecutable || info.Code == contract.ExitNotFound || !usual:
		return exitWith(info.Code, info.Message)
	default:
		return exitWith(info.Code, "")
	}
}

// lastLines is the end of a text.
func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// boot runs a machine to its end, which ctx or a second signal can bring about.
func boot(
	ctx context.Context, dir, stopSignal string, signals <-chan os.Signal, start func() (vm.Machine, error), started func() error,
) error {
	machine, err := start()
	if err != nil {
		return err
	}
	if err := started(); err != nil {
		return errors.Join(err, machine.Kill())
	}
	kill, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(stopGently(ctx, kill, dir, stopSignal, signals)) })()
	err = machine.Wait(kill)
	return cmp.Or(context.Cause(kill), err)
}

// stopGently passes on the signal that ended ctx to the guest, unless its time is
// over, and gives the reason to kill it when it has had its chance.
func stopGently(ctx, ended context.Context, dir, stopSignal string, signals <-chan os.Signal) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause
	}
	told := make(chan error, 1)
	go func() { told <- shutDown(ended, dir, guestSignal(interruptionOf(ctx), stopSignal)) }()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	var problem error
	for count := 0; ; {
		select {
		case problem = <-told: // no reason to kill: a guest may end before its answer is out
		case sig := <-signals:
			// The first is the one that ended ctx. SIGHUP does not count: a terminal
			// that goes away sends it on top of others, and more than once.
			if sig != unix.SIGHUP {
				count++
			}
			if count > 1 {
				return fmt.Errorf("%w, then %v", cause, sig)
			}
		case <-timer.C:
			return errors.Join(fmt.Errorf("%w, and the guest did not stop within %v", cause, stopTimeout), problem)
		case <-ended.Done():
			return nil
		}
	}
}

// shutDown asks the guest to stop, as soon as its agent listens.
func shutDown(ctx context.Context, dir string, sig syscall.Signal) error {
	wake(ctx, dir)
	return withAgent(ctx, dir, func(client *agent.Client) error {
		return client.Shutdown(ctx, agent.ShutdownOptions{Signal: sig})
	})
}
