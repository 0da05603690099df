package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// systemdStop is the stop signal of all images that boot systemd, as such images
// name it for docker: SIGRTMIN+3 of systemd(1). It would halt a machine, which
// then stays, so that the agent is left to choose how to power off.
const systemdStop = "SIGRTMIN+3"

// interruption is the signal that ended a context.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return i.signal.String() + " signal received" }

// interruptionOf is the signal that ended a context, or 0 if none did.
func interruptionOf(ctx context.Context) syscall.Signal {
	i, _ := errors.AsType[interruption](context.Cause(ctx))
	return i.signal
}

// stopSignal names the signal that kindling stop sends: that of the image, with
// or without SIG or as a number, or SIGTERM. Where the image's own would not
// arrive, that is told on stderr, and the image runs as it does under docker.
func stopSignal(image string, mode contract.InitMode, stderr io.Writer) string {
	name := signalName(image)
	switch {
	case mode == contract.ModeSystemd:
		if image != "" && name != systemdStop {
			fmt.Fprintf(stderr, "kindling: image's stop signal %.64q is not systemd's, %s in its place\n", image, systemdStop)
		}
		return systemdStop
	case image == "":
		return unix.SignalName(unix.SIGTERM)
	case !isForwarded(name):
		fmt.Fprintf(stderr, "kindling: image's stop signal %.64q cannot reach its command, SIGTERM in its place\n", image)
		return unix.SignalName(unix.SIGTERM)
	}
	return name
}

// signalName is the name of a signal with SIG. Of the real-time signals it knows
// systemd's only.
func signalName(text string) string {
	const systemdNumber = 34 + 3 // with glibc's SIGRTMIN
	if number, err := strconv.Atoi(text); err == nil {
		if number == systemdNumber {
			return systemdStop
		}
		return unix.SignalName(syscall.Signal(number))
	}
	return "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
}

func isForwarded(name string) bool {
	return slices.Contains(contract.ForwardedSignals, unix.SignalNum(name))
}

// guestSignal is what the guest's PID 1 gets for a signal to a machine with this
// stop signal. It is 0, which is the agent's choice, for systemd, and for a
// machine that an older kindling started, which may be systemd's.
func guestSignal(sig syscall.Signal, stop string) syscall.Signal {
	if stop == systemdStop || stop == "" {
		return 0
	}
	return sig
}
