package contract

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

const (
	// ExitMarker starts the exit sentinel.
	ExitMarker = "HYPEMAN-EXIT "
	// macKey starts the sentinel's MAC.
	macKey = "mac="
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
// with the message that the contract gives to the code: one above 128 is a
// shell's for 128 plus a signal.
func NewExitInfo(code int) ExitInfo {
	switch {
	case code == 0:
		return ExitInfo{code, "success"}
	case code == ExitNotExecutable:
		return ExitInfo{code, "permission denied (command not executable)"}
	case code == ExitNotFound:
		return ExitInfo{code, "command not found"}
	case code > 128:
		return NewKillInfo(syscall.Signal(code - 128))
	default:
		return NewPlainExitInfo(code)
	}
}

// NewKillInfo is the exit information of an application that a signal ended.
func NewKillInfo(signal syscall.Signal) ExitInfo {
	return ExitInfo{128 + int(signal), fmt.Sprintf("killed by signal %d (%v)", int(signal), signal)}
}

// NewPlainExitInfo is the exit information of an application that gave a code
// to which the contract gives no message, or gave one above 128 by itself.
func NewPlainExitInfo(code int) ExitInfo {
	return ExitInfo{code, fmt.Sprintf("exit code %d", code)}
}

// OOM is the exit information with the remark that the kernel killed for want
// of memory.
func (e ExitInfo) OOM() ExitInfo {
	e.Message += " - OOM"
	return e
}

// String is the exit sentinel: HYPEMAN-EXIT code=N message="quoted".
func (e ExitInfo) String() string {
	return fmt.Sprintf("%scode=%d message=%q", ExitMarker, e.Code, e.Message)
}

// Signed is the exit sentinel with its MAC: the HMAC-SHA256 of the sentinel,
// keyed by the config's exit token, in hexadecimal. It stands before the
// sentinel, since hosts of version 0.0.7 take all that is behind message= for
// the message. Without a token, Signed is String.
func (e ExitInfo) Signed(token string) string {
	sentinel := e.String()
	if token == "" {
		return sentinel
	}
	return exitMAC(token, sentinel) + " " + sentinel
}

func exitMAC(token, sentinel string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte(sentinel))
	return macKey + hex.EncodeToString(mac.Sum(nil))
}

// IsSigned tells whether a line of the serial log has an exit sentinel that
// whoever has the token made.
func IsSigned(line, token string) bool {
	before, sentinel, found := strings.Cut(strings.TrimSpace(line), ExitMarker)
	if !found || token == "" {
		return false
	}
	_, mac, found := strings.Cut(strings.TrimSuffix(before, " "), macKey)
	return found && hmac.Equal([]byte(macKey+mac), []byte(exitMAC(token, ExitMarker+sentinel)))
}

// ParseSignedExit finds the exit sentinel in one line of the serial log that
// whoever has the token made. What stands before its MAC does not count, since
// an application can leave a line without an end for init to write on.
func ParseSignedExit(line, token string) (ExitInfo, bool) {
	line = strings.TrimSpace(line)
	for {
		_, rest, found := strings.Cut(line, macKey)
		if !found {
			return ExitInfo{}, false
		}
		if IsSigned(macKey+rest, token) {
			return ParseExit(rest)
		}
		line = rest
	}
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
