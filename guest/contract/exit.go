package contract

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

const (
	// ExitMarker starts the exit sentinel.
	ExitMarker = "HYPEMAN-EXIT "
	// ExitTail is how many bytes at the end of the serial log are searched for
	// the sentinel.
	ExitTail = 8192

	// ExitNotExecutable and ExitNotFound are the shell's codes for a command
	// that could not be started.
	ExitNotExecutable = 126
	ExitNotFound      = 127
	// ExitBootFailed is the code of a guest that never started its
	// application. The contract gives 78 (EX_CONFIG of sysexits.h) to a set-up
	// that failed.
	ExitBootFailed = 78
)

// ExitInfo is how the application, or the boot before it, ended.
type ExitInfo struct {
	Code    int    // the application's exit code, or 128 plus the signal
	Message string // for people
}

// NewExitInfo is the exit information of an application that ended with code,
// with the message that the contract gives to the code. An application that
// died by a signal has 128 plus the signal's number.
func NewExitInfo(code int) ExitInfo {
	info := ExitInfo{Code: code}
	switch {
	case code == 0:
		info.Message = "success"
	case code == ExitNotExecutable:
		info.Message = "permission denied (command not executable)"
	case code == ExitNotFound:
		info.Message = "command not found"
	case code > 128:
		info.Message = fmt.Sprintf("killed by signal %d (%v)", code-128, syscall.Signal(code-128))
	default:
		info.Message = fmt.Sprintf("exit code %d", code)
	}
	return info
}

// String is the exit sentinel: HYPEMAN-EXIT code=N message="quoted".
func (e ExitInfo) String() string {
	return fmt.Sprintf("%scode=%d message=%q", ExitMarker, e.Code, e.Message)
}

// ParseExit finds the exit sentinel in one line of the serial log, wherever in
// the line it stands.
func ParseExit(line string) (ExitInfo, bool) {
	_, rest, found := strings.Cut(strings.TrimSpace(line), ExitMarker)
	if !found {
		return ExitInfo{}, false
	}
	rest, found = strings.CutPrefix(rest, "code=")
	if !found {
		return ExitInfo{}, false
	}
	number, rest, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(number)
	if err != nil {
		return ExitInfo{}, false
	}
	info := ExitInfo{Code: code}
	if quoted, ok := strings.CutPrefix(rest, "message="); ok {
		message, err := strconv.Unquote(quoted)
		if err != nil {
			message = strings.Trim(quoted, `"`)
		}
		info.Message = message
	}
	return info, true
}

// FindExit finds the last exit sentinel in the last ExitTail bytes of a serial
// log. The last one wins, since an application can print a sentinel of its own
// but init prints after it.
func FindExit(log []byte) (ExitInfo, bool) {
	tail := log[max(0, len(log)-ExitTail):]
	for len(tail) > 0 {
		line := tail
		if i := bytes.LastIndexByte(tail, '\n'); i >= 0 {
			tail, line = tail[:i], tail[i+1:]
		} else {
			tail = nil
		}
		if info, ok := ParseExit(string(line)); ok {
			return info, true
		}
	}
	return ExitInfo{}, false
}
