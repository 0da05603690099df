package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

const (
	// maxSignal is the highest signal number of Linux, SIGRTMAX of signal(7).
	maxSignal = 64
	// systemdPowerOff is SIGRTMIN+4 of systemd(1), with glibc's SIGRTMIN of 34.
	// SIGTERM makes systemd only execute itself anew.
	systemdPowerOff syscall.Signal = 34 + 4
)

// Shutdown sends a signal to PID 1 and does not wait for its effect. What else
// the request says is in a file before init gets the signal.
func (s *service) Shutdown(_ context.Context, req *guestpb.ShutdownRequest) (*guestpb.ShutdownResponse, error) {
	signal := syscall.Signal(req.GetSignal())
	switch {
	case signal == 0 && s.options.Systemd:
		signal = systemdPowerOff
	case signal == 0:
		signal = syscall.SIGTERM
	case signal < 1 || signal > maxSignal:
		return nil, status.Errorf(codes.InvalidArgument, "signal %d is not from 0 to %d", signal, maxSignal)
	}
	if len(req.GetReason()) > maxReason {
		return nil, status.Errorf(codes.InvalidArgument, "reason has more than %d bytes", maxReason)
	}
	note := contract.ShutdownNote{GraceSeconds: req.GetGraceSeconds(), Reason: req.GetReason()}
	if note != (contract.ShutdownNote{}) {
		if err := writeNote(s.options.ShutdownFile, note); err != nil {
			return nil, fmt.Errorf("write shutdown note: %w", err)
		}
	}
	if err := s.kill(1, signal); err != nil {
		err = fmt.Errorf("signal init: %w", err)
		if note != (contract.ShutdownNote{}) {
			// It would be taken for that of the next shutdown.
			err = errors.Join(err, os.Remove(s.options.ShutdownFile))
		}
		return nil, err
	}
	return &guestpb.ShutdownResponse{}, nil
}

// writeNote replaces the file by rename. It is not synced: it lives until the
// next boot at most.
func writeNote(name string, note contract.ShutdownNote) (err error) {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".shutdown-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
