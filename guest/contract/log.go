package contract

import (
	"fmt"
	"time"
)

// Level is the severity of a log line.
type Level string

const (
	LevelInfo  Level = "INFO"
	LevelError Level = "ERROR"
)

// BootMarker starts init's message at the end of the boot: microseconds from
// the kernel's start, then for each step NAME=microseconds, with a ! behind one
// that failed.
const BootMarker = "KINDLING-BOOT"

// LogLine is one line of init's log, with its newline: time in UTC to the
// second, level, phase behind "hypeman-init:", message.
func LogLine(t time.Time, level Level, phase, message string) string {
	return fmt.Sprintf("%s [%s] [hypeman-init:%s] %s\n", t.UTC().Format(time.RFC3339), level, phase, message)
}
