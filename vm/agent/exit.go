package agent

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// maxSignal is the highest signal number of Linux, SIGRTMAX of signal(7).
const maxSignal = 64

// ExitStatus is how a command ended, as the guest claims.
type ExitStatus struct {
	// Code is from 0 to 255, or -1 if a signal or the timeout killed the command.
	Code int
	// Signal killed the command. It is 0 with a Code that is not -1, and always by
	// an agent that knows only the hypeman agent protocol.
	Signal syscall.Signal
	// TimedOut tells that the command was killed since its time was over. Such an
	// old agent does not tell.
	TimedOut bool
}

// Success tells that the exit code is 0.
func (s ExitStatus) Success() bool { return s == ExitStatus{} }

func (s ExitStatus) String() string {
	switch {
	case s.TimedOut:
		return "killed since its time was over"
	case s.Signal != 0:
		return fmt.Sprintf("killed by signal %d (%v)", int(s.Signal), s.Signal)
	case s.Code < 0:
		return "killed by a signal or the timeout"
	default:
		return fmt.Sprintf("exit code %d", s.Code)
	}
}

// exitStatus is the status in the last message of a call.
func exitStatus(resp *guestpb.ExecResponse) (ExitStatus, error) {
	s := ExitStatus{Code: int(resp.GetExitCode()), Signal: syscall.Signal(resp.GetSignal()), TimedOut: resp.GetTimedOut()}
	killed := s.Signal != 0 || s.TimedOut
	switch {
	case s.Code < -1 || s.Code > 255:
		return ExitStatus{}, fmt.Errorf("%w: exit code is %d", ErrProtocol, s.Code)
	case s.Signal < 0 || s.Signal > maxSignal:
		return ExitStatus{}, fmt.Errorf("%w: signal is %d", ErrProtocol, int(s.Signal))
	case killed && s.Code != -1:
		return ExitStatus{}, fmt.Errorf("%w: exit code of a killed command is %d", ErrProtocol, s.Code)
	}
	return s, nil
}

// StartError tells that a command could not be started, so that it had no
// effect.
type StartError struct {
	// Reason is the guest's, for people, in the bounds of CallError's message.
	Reason string
	// NotFound tells that there is no such program or working directory.
	NotFound bool
	call     *CallError
}

func (e *StartError) Error() string { return e.call.Error() }

// Unwrap gives the CallError.
func (e *StartError) Unwrap() error { return e.call }

// startError finds out whether a failed call means that the command could not be
// started. The hypeman agent protocol has no other sign of it than the text.
func startError(err error) error {
	call, ok := errors.AsType[*CallError](err)
	if !ok || call.Code != codes.Unknown {
		return err
	}
	for _, prefix := range []string{"start command: ", "start pty: "} {
		if reason, found := strings.CutPrefix(call.Message, prefix); found {
			notFound := strings.HasSuffix(reason, "executable file not found in $PATH") || strings.HasSuffix(reason, "no such file or directory")
			return &StartError{Reason: reason, NotFound: notFound, call: call}
		}
	}
	return err
}
