package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExitSentinel(t *testing.T) {
	tests := []struct {
		code int
		want string
	}{
		{0, `HYPEMAN-EXIT code=0 message="success"`},
		{3, `HYPEMAN-EXIT code=3 message="exit code 3"`},
		{126, `HYPEMAN-EXIT code=126 message="permission denied (command not executable)"`},
		{127, `HYPEMAN-EXIT code=127 message="command not found"`},
		{128, `HYPEMAN-EXIT code=128 message="exit code 128"`},
		{137, `HYPEMAN-EXIT code=137 message="killed by signal 9 (killed)"`},
		{143, `HYPEMAN-EXIT code=143 message="killed by signal 15 (terminated)"`},
		{162, `HYPEMAN-EXIT code=162 message="killed by signal 34 (signal 34)"`},
		{-1, `HYPEMAN-EXIT code=-1 message="exit code -1"`},
	}
	for _, test := range tests {
		if got := NewExitInfo(test.code).String(); got != test.want {
			t.Errorf("NewExitInfo(%d) = %s, want %s", test.code, got, test.want)
		}
	}
}

func TestParseExit(t *testing.T) {
	tests := []struct {
		name, line string
		want       ExitInfo
		ok         bool
	}{
		{"in a log line", `2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=127 message="command not found"` + "\r", ExitInfo{127, "command not found"}, true},
		{"no message", "HYPEMAN-EXIT code=-3", ExitInfo{-3, ""}, true},
		{"other field", "HYPEMAN-EXIT code=1 reason=x", ExitInfo{1, ""}, true},
		{"bad quotes", `HYPEMAN-EXIT code=1 message="a"b"`, ExitInfo{1, `a"b`}, true},
		{"escapes", `HYPEMAN-EXIT code=1 message="a\n\"b\" \x01"`, ExitInfo{1, "a\n\"b\" \x01"}, true},
		{"no space behind marker", "HYPEMAN-EXIT\tcode=1", ExitInfo{}, false},
		{"no code", "HYPEMAN-EXIT message=1", ExitInfo{}, false},
		{"code is no number", "HYPEMAN-EXIT code=1x", ExitInfo{}, false},
		{"first marker counts", "HYPEMAN-EXIT code=x HYPEMAN-EXIT code=1", ExitInfo{}, false},
		{"empty", "", ExitInfo{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := ParseExit(test.line)
			if ok != test.ok || got != test.want {
				t.Errorf("ParseExit(%q) = %v, %v, want %v, %v", test.line, got, ok, test.want, test.ok)
			}
		})
	}
}

func TestFindExit(t *testing.T) {
	last := NewExitInfo(7)
	tests := []struct {
		name, log string
		want      ExitInfo
		ok        bool
	}{
		{"last wins", "HYPEMAN-EXIT code=0\r\nx\r\n" + last.String() + "\r\n[    3.1] reboot: Power down\r\n", last, true},
		{"no newline at the end", "x\n" + last.String(), last, true},
		{"outside the tail", last.String() + "\n" + strings.Repeat("y", ExitTail), ExitInfo{}, false},
		{"empty", "", ExitInfo{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := FindExit([]byte(test.log))
			if ok != test.ok || got != test.want {
				t.Errorf("got %v, %v, want %v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func FuzzExitRoundTrip(f *testing.F) {
	f.Add(0, "success")
	f.Add(-1, "a \"b\"\n\\ \x00\xff")
	f.Fuzz(func(t *testing.T, code int, message string) {
		want := ExitInfo{Code: code, Message: message}
		got, ok := ParseExit("prefix " + want.String() + "\r")
		if !ok || got != want {
			t.Errorf("ParseExit(%q) = %v, %v, want %v", want.String(), got, ok, want)
		}
	})
}

func TestLogLine(t *testing.T) {
	at := time.Date(2026, 2, 13, 16, 26, 27, 999, time.FixedZone("CET", 3600))
	got := LogLine(at, LevelInfo, "entrypoint", NewExitInfo(0).String())
	want := "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=0 message=\"success\"\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("LogLine (-want +got):\n%s", diff)
	}
}
