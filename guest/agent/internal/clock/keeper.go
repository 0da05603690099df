package clock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// interval is between two looks at the host's clock. The hypeman agent
	// protocol gives it.
	interval = 30 * time.Second
	// deviceName is that of the host's clock under KVM (ptp_kvm_common.c).
	deviceName = "KVM virtual PTP"
	// forkMessage is what the kernel logs when its host says that the machine is
	// a copy (crng_vm_fork of drivers/char/random.c).
	forkMessage = "crng reseeded due to virtual machine fork"
	// maxRecord holds a record of /dev/kmsg (PRINTKRB_RECORD_MAX and below, of
	// kernel/printk/internal.h).
	maxRecord = 8 << 10
	// logTag starts messages, as the hypeman agent protocol has it.
	logTag = "[guest-agent] clock:"
)

// Keep sets the clock when it is off from the host's by more than Threshold, by
// a look now, at intervals and when the kernel finds that the machine is a copy.
// It returns when the context ends, or at once on a machine that does not have
// its host's clock.
func Keep(ctx context.Context, clock *Clock, logger *log.Logger) {
	device, err := findDevice("/sys/class/ptp", "/dev")
	if err != nil {
		logger.Printf("%s %v", logTag, err)
	}
	if device == "" {
		return
	}
	host, err := os.Open(device)
	if err != nil {
		logger.Printf("%s open host's clock: %v", logTag, err)
		return
	}
	defer host.Close()
	kernelLog, err := openKernelLog()
	if err != nil {
		// It is then noticed at the next look.
		logger.Printf("%s %v", logTag, err)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	k := keeper{clock: clock, host: func() (time.Time, error) { return deviceTime(host) }, ticks: ticker.C, logger: logger}
	if kernelLog != nil {
		forks := make(chan struct{})
		k.forks = forks
		defer kernelLog.Close() // which ends the wait for its next record
		go func() {
			if err := watchForks(ctx, kernelLog, forks); err != nil {
				logger.Printf("%s %v", logTag, err)
			}
		}()
	}
	k.run(ctx)
}

// keeper compares a clock to its host's when it is told to.
type keeper struct {
	clock  *Clock
	host   func() (time.Time, error)
	ticks  <-chan time.Time
	forks  <-chan struct{} // may be nil
	logger *log.Logger
	failed bool // the last look did, and was logged
}

func (k *keeper) run(ctx context.Context) {
	for {
		k.look()
		select {
		case <-k.ticks:
		case <-k.forks:
		case <-ctx.Done():
			return
		}
	}
}

func (k *keeper) look() {
	host, err := k.host()
	if err == nil {
		var offset time.Duration
		var stepped bool
		if offset, stepped, err = k.clock.Sync(host, Threshold); stepped {
			k.logger.Printf("%s stepped, was off by %v", logTag, offset)
		}
	}
	// Once in a row, or it would fill the console.
	if err != nil && !k.failed {
		k.logger.Printf("%s %v", logTag, err)
	}
	k.failed = err != nil
}

// findDevice looks for the host's clock among the devices of a folder as
// /sys/class/ptp and gives its path below dev; "" if there is none.
func findDevice(class, dev string) (string, error) {
	names, err := filepath.Glob(filepath.Join(class, "ptp*", "clock_name"))
	if err != nil {
		return "", fmt.Errorf("find host's clock: %w", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("find host's clock: %w", err)
		}
		if strings.TrimSuffix(string(text), "\n") == deviceName {
			return filepath.Join(dev, filepath.Base(filepath.Dir(name))), nil
		}
	}
	return "", nil
}

// deviceTime reads a clock device by FD_TO_CLOCKID of clock_getres(2).
func deviceTime(device *os.File) (time.Time, error) {
	raw, err := device.SyscallConn()
	if err != nil {
		return time.Time{}, fmt.Errorf("read host's clock: %w", err)
	}
	var ts unix.Timespec
	var readErr error
	err = raw.Control(func(fd uintptr) { readErr = unix.ClockGettime(int32(^fd<<3|3), &ts) })
	if err := errors.Join(err, readErr); err != nil {
		return time.Time{}, fmt.Errorf("read host's clock: %w", err)
	}
	return time.Unix(ts.Unix()), nil
}

// openKernelLog opens the kernel's log behind what it has now.
func openKernelLog() (*os.File, error) {
	file, err := os.Open("/dev/kmsg")
	if err != nil {
		return nil, fmt.Errorf("open kernel log: %w", err)
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("skip kernel log: %w", err), file.Close())
	}
	return file, nil
}

// watchForks tells of the kernel's messages that the machine is a copy until the
// log, of which each read gives one record, or the context ends.
func watchForks(ctx context.Context, kernelLog io.Reader, forks chan<- struct{}) error {
	record := make([]byte, maxRecord)
	for {
		n, err := kernelLog.Read(record)
		switch {
		case errors.Is(err, unix.EPIPE):
			// Records were overwritten before they were read, maybe that one.
		case ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read kernel log: %w", err)
		case !isFork(record[:n]):
			continue
		}
		select {
		case forks <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

// isFork tells whether a record of /dev/kmsg is the kernel's own message that
// the machine is a copy (Documentation/ABI/testing/dev-kmsg): "6,339,5140900,-;"
// and the text. Processes that write to it cannot have the kernel's facility.
func isFork(record []byte) bool {
	prefix, text, _ := bytes.Cut(record, []byte(";"))
	number, _, _ := strings.Cut(string(prefix), ",")
	priority, err := strconv.ParseUint(number, 10, 32)
	const severities = 8 // priority is facility * 8 + severity
	return err == nil && priority < severities && bytes.Contains(text, []byte(forkMessage))
}
