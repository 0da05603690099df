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

// TestKillIsTold checks that codes above 128 that are no signal read otherwise.
func TestKillIsTold(t *testing.T) {
	tests := []struct {
		info ExitInfo
		want string
	}{
		{NewKillInfo(9), `HYPEMAN-EXIT code=137 message="killed by signal 9 (killed)"`},
		{NewKillInfo(9).OOM(), `HYPEMAN-EXIT code=137 message="killed by signal 9 (killed) - OOM"`},
		{NewPlainExitInfo(137), `HYPEMAN-EXIT code=137 message="exit code 137"`},
		{NewPlainExitInfo(137).OOM(), `HYPEMAN-EXIT code=137 message="exit code 137 - OOM"`},
	}
	for _, test := range tests {
		if got := test.info.String(); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestSignedExit(t *testing.T) {
	// By openssl dgst -sha256 -hmac token.
	const mac = "e9a17a2c18007509ff322956a127eef79724fdacee6c066d068f68aa3c54a1b3"
	info := NewExitInfo(3)
	sentinel := info.String()
	if got := info.Signed(""); got != sentinel {
		t.Errorf("without a token: got %s, want %s", got, sentinel)
	}
	line := LogLine(time.Unix(0, 0), LevelInfo, "entrypoint", info.Signed("token"))
	want := "1970-01-01T00:00:00Z [INFO] [hypeman-init:entrypoint] mac=" + mac + " " + sentinel + "\n"
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if got, ok := ParseExit(line); got != info || !ok {
		t.Errorf("ParseExit = %v, %v, want %v", got, ok, info)
	}
	tests := []struct {
		name, line, token string
		want              bool
	}{
		{"signed", line, "token", true},
		{"carriage return", strings.TrimSpace(line) + "\r", "token", true},
		{"other token", line, "Token", false},
		{"no token", line, "", false},
		{"not signed", sentinel, "token", false},
		{"other code", strings.Replace(line, "code=3", "code=0", 1), "token", false},
		{"more behind it", strings.TrimSpace(line) + " x", "token", false},
		{"sentinel before it", sentinel + " " + line, "token", false},
		{"no MAC", "mac= " + sentinel, "token", false},
	}
	for _, test := range tests {
		if got := IsSigned(test.line, test.token); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestParseSignedExit(t *testing.T) {
	info, fake := NewExitInfo(3), NewExitInfo(0)
	signed := info.Signed("token")
	tests := []struct {
		name, line, token string
		ok                bool
	}{
		{"log line", LogLine(time.Unix(0, 0), LevelInfo, "entrypoint", signed), "token", true},
		{"behind a sentinel", fake.String() + " " + signed, "token", true},
		{"behind a sentinel with a MAC", fake.Signed("guess") + signed, "token", true},
		{"behind many MACs", strings.Repeat("mac=", 1000) + signed, "token", true},
		{"other token", signed, "Token", false},
		{"no token", info.String(), "", false},
		{"empty MAC", "mac= " + info.String(), "", false},
		{"not signed", info.String(), "token", false},
		{"MAC of another sentinel", strings.Replace(signed, "code=3", "code=0", 1), "token", false},
		{"more behind it", signed + fake.String(), "token", false},
		{"cut", signed[:len(signed)-1], "token", false},
		{"cut before the MAC ends", signed[10:], "token", false},
		{"empty", "", "token", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := ParseSignedExit(test.line, test.token)
			if ok != test.ok || ok && got != info {
				t.Errorf("got %v, %v, want %v, %v", got, ok, info, test.ok)
			}
		})
	}
}

func TestDiskName(t *testing.T) {
	for index, want := range map[int]string{0: RootDisk, 1: OverlayDisk, 2: ConfigDisk, 25: "/dev/vdz", 26: "/dev/vdaa", 27: "/dev/vdab", 701: "/dev/vdzz", 702: "/dev/vdaaa"} {
		if got := DiskName(index); got != want {
			t.Errorf("DiskName(%d) = %s, want %s", index, got, want)
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
