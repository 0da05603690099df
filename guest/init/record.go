package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

// recordDir is a small tmpfs of init's own: what it says is of this boot only.
const recordDir = "/run/kindling"

// bootRecord is the document of recordDir/boot.json. Times are in microseconds
// since the kernel's start.
type bootRecord struct {
	Steps []stepRecord `json:"steps"`
	// ReadyUS is when the application was about to start.
	ReadyUS int64 `json:"ready_us"`
	// MemAvailable of /proc/meminfo around the release of the initramfs, in KiB.
	BeforeFreeKiB int64 `json:"mem_available_before_free_kib,omitempty"`
	AfterFreeKiB  int64 `json:"mem_available_after_free_kib,omitempty"`
}

type stepRecord struct {
	Name       string `json:"name"`
	StartUS    int64  `json:"start_us"`
	DurationUS int64  `json:"duration_us"`
	Error      string `json:"error,omitempty"`
}

// uptime is CLOCK_BOOTTIME of clock_gettime(2), which goes on in a machine that
// is suspended and which nobody sets.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // times of no use must not keep the machine from booting
	}
	return time.Duration(t.Nano())
}

func (r *bootRecord) add(name string, start, end time.Duration, err error) {
	s := stepRecord{Name: name, StartUS: start.Microseconds(), DurationUS: (end - start).Microseconds()}
	if err != nil {
		s.Error = err.Error()
	}
	r.Steps = append(r.Steps, s)
}

// String is the message of contract.BootMarker.
func (r *bootRecord) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ready=%d", contract.BootMarker, r.ReadyUS)
	for _, s := range r.Steps {
		fmt.Fprintf(&b, " %s=%d", s.Name, s.DurationUS)
		if s.Error != "" {
			b.WriteByte('!')
		}
	}
	return b.String()
}

// reportBoot tells how the boot went up to now, when the application starts.
func (m *machine) reportBoot() {
	m.record.ReadyUS = m.uptime().Microseconds()
	m.log.info("boot", "%v", &m.record)
}

// writeRecord leaves the record for programs of the guest.
func (m *machine) writeRecord() error { return m.record.write(m.recordDir) }

// write writes the document into a directory.
func (r *bootRecord) write(dir string) error {
	document, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record of the boot: %w", err)
	}
	name := dir + "/boot.json"
	if err := os.WriteFile(name+".new", append(document, '\n'), 0o644); err != nil {
		return fmt.Errorf("write record of the boot: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return errors.Join(fmt.Errorf("put record of the boot into place: %w", err), os.Remove(name+".new"))
	}
	return nil
}
