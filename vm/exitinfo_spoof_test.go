package vm

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
)

func writeLog(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "app.log")
}

// TestSpoofedExit has what an application may print, and init behind it.
func TestSpoofedExit(t *testing.T) {
	const token = "secret"
	end := contract.NewExitInfo(7)
	log := func(outcome string) string {
		line := contract.LogLine(time.Unix(0, 0), contract.LevelInfo, "entrypoint", outcome)
		return strings.ReplaceAll(line, "\n", "\r\n")
	}
	signed := log(end.Signed(token))
	const fake = `HYPEMAN-EXIT code=0 message="success"`
	const none = -1
	tests := []struct {
		name                string
		log                 string
		last, first, signed int // codes
	}{
		{"nothing of its own", signed, 7, 7, 7},
		{"fake", fake + "\r\n" + signed, 7, 0, 7},
		{"fake log line", log(fake) + signed, 7, 0, 7},
		{"fake with a MAC by another token", log(contract.NewExitInfo(0).Signed("guess")) + signed, 7, 0, 7},
		{"fake behind the end", signed + fake + "\r\n", 0, 7, 7},
		{"fake and then killed", fake + "\r\n", 0, 0, none},
		{"fake without an end of line", fake + " " + signed, 0, 0, 7},
		{"broken fake on init's line", "HYPEMAN-EXIT code=x " + signed, none, none, 7},
		{"every marker", "HYPEMAN-PROGRAM-START ts=x\r\nHYPEMAN-AGENT-READY ts=x\r\nKINDLING-BOOT 1\r\n" + fake + "\r\n" + signed, 7, 0, 7},
		{"escape sequences", "\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[8m" + signed + "\x1b[0m", 7, 7, 7},
		{"NUL bytes", strings.Repeat("\x00", 4096) + "\n" + signed, 7, 7, 7},
		{"NUL bytes on init's line", "\x00\x00" + signed, 7, 7, 7},
		{"long line", strings.Repeat("y", 1<<20) + "\n" + signed, 7, 7, 7},
		{"long line up to init's", strings.Repeat("y", 1<<20) + signed, 7, 7, 7},
		{"long line behind the end", signed + strings.Repeat("y", 1<<20), none, none, none},
		{"panic", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000\r\n" + signed, 7, 7, 7},
		{"bytes that are no UTF-8", "\xff\xfe\xc0" + signed, 7, 7, 7},
		{"split by another line", signed[:80] + "\r\n" + signed[80:], 7, 7, none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			boot := BootLog{Path: writeLog(t, map[string]string{"app.log": test.log})}
			for _, read := range []struct {
				name string
				read func() (contract.ExitInfo, error)
				want int
			}{
				{"last", boot.Exit, test.last},
				{"first", boot.FirstExit, test.first},
				{"signed", func() (contract.ExitInfo, error) { return boot.SignedExit(token) }, test.signed},
				{"signed without a token", func() (contract.ExitInfo, error) { return boot.SignedExit("") }, none},
			} {
				got, err := read.read()
				if read.want == none {
					if !errors.Is(err, ErrNoExit) {
						t.Errorf("%s: got %v, error %v, want %v", read.name, got, err, ErrNoExit)
					}
				} else if err != nil || got.Code != read.want {
					t.Errorf("%s: got %v, error %v, want code %d", read.name, got, err, read.want)
				}
			}
		})
	}
}

func TestRotatedExit(t *testing.T) {
	exit := func(code int) string { return contract.NewExitInfo(code).String() + "\n" }
	long := strings.Repeat("y", contract.ExitTail)
	tests := []struct {
		name  string
		files map[string]string
		want  int // -1 for ErrNoExit
	}{
		{"newest of all", map[string]string{"app.log": "x\n", "app.log.1": exit(1), "app.log.2": exit(2), "app.log.10": exit(10)}, 1},
		{"further back", map[string]string{"app.log": "", "app.log.1": "x\n", "app.log.3": exit(3), "app.log.10": exit(10)}, 3},
		{"numbers, not text", map[string]string{"app.log.10": exit(10), "app.log.9": exit(9)}, 9},
		{"not beyond the tail", map[string]string{"app.log": "x\n", "app.log.1": long, "app.log.2": exit(2)}, -1},
		{"other suffixes", map[string]string{
			"app.log.1.gz": exit(1), "app.log.x": exit(1), "app.log.-1": exit(1), "app.log.0": exit(1), "app.log.01": exit(1),
			"app.log.": exit(1), "xapp.log.1": exit(1), "app.log-1": exit(1),
		}, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadExit(writeLog(t, test.files))
			if test.want < 0 {
				if !errors.Is(err, ErrNoExit) {
					t.Errorf("got %v, error %v, want %v", got, err, ErrNoExit)
				}
			} else if err != nil || got.Code != test.want {
				t.Errorf("got %v, error %v, want code %d", got, err, test.want)
			}
		})
	}
}

func TestExitTail(t *testing.T) {
	path := writeLog(t, map[string]string{"app.log": contract.NewExitInfo(7).String() + "\n" + strings.Repeat("y", contract.ExitTail)})
	if got, err := (BootLog{Path: path, Tail: 2 * contract.ExitTail}).Exit(); err != nil || got.Code != 7 {
		t.Errorf("longer tail: got %v, error %v, want code 7", got, err)
	}
	if got, err := (BootLog{Path: path}).Exit(); !errors.Is(err, ErrNoExit) {
		t.Errorf("default: got %v, error %v, want %v", got, err, ErrNoExit)
	}
}

func TestBootStart(t *testing.T) {
	start := time.Date(2026, 3, 8, 15, 0, 0, 0, time.UTC)
	path := writeLog(t, map[string]string{
		"app.log":   "x\n",
		"app.log.1": "HYPEMAN-AGENT-READY ts=2026-03-08T15:00:01Z\n" + contract.NewExitInfo(1).String() + "\n",
		"app.log.2": "HYPEMAN-AGENT-READY ts=2026-03-08T16:00:00Z\n" + contract.NewExitInfo(2).String() + "\n",
	})
	for suffix, at := range map[string]time.Time{"": start.Add(time.Hour), ".1": start, ".2": start.Add(-time.Second)} {
		if err := os.Chtimes(path+suffix, at, at); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		start time.Time
		code  int       // -1 for none
		ready time.Time // zero for none
	}{
		{"all", time.Time{}, 1, start.Add(time.Hour)},
		{"this boot's", start, 1, start.Add(time.Second)},
		{"later boot", start.Add(time.Minute), -1, time.Time{}},
		{"boot without a log", start.Add(2 * time.Hour), -1, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			boot := BootLog{Path: path, Start: test.start}
			info, err := boot.Exit()
			if test.code < 0 && !errors.Is(err, ErrNoExit) || test.code >= 0 && (err != nil || info.Code != test.code) {
				t.Errorf("got %v, error %v, want code %d", info, err, test.code)
			}
			ready, err := boot.AgentReady()
			if !ready.Equal(test.ready) || test.ready.IsZero() != errors.Is(err, ErrNoMarker) {
				t.Errorf("got %v, error %v, want %v", ready, err, test.ready)
			}
		})
	}
}

func TestMarkers(t *testing.T) {
	at := time.Date(2026, 3, 8, 15, 9, 26, 5, time.UTC)
	ready := func(at time.Time) string {
		return "2026/03/08 15:09:26 [guest-agent] HYPEMAN-AGENT-READY ts=" + at.Format(time.RFC3339Nano) + "\r\n"
	}
	start := "2026-03-08T15:09:26Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=" + at.Format(time.RFC3339Nano) + " mode=exec\r\n"
	tests := []struct {
		name         string
		files        map[string]string
		start, ready time.Time // zero for none
	}{
		{"both", map[string]string{"app.log": "x\n" + start + ready(at.Add(1))}, at, at.Add(1)},
		{"start alone", map[string]string{"app.log": start}, at, time.Time{}},
		{"latest wins", map[string]string{"app.log": ready(at.Add(2)) + ready(at.Add(1)), "app.log.1": ready(at)}, time.Time{}, at.Add(2)},
		{"latest is rotated", map[string]string{"app.log": ready(at), "app.log.1": ready(at.Add(1)), "app.log.2.gz": ready(at.Add(9))}, time.Time{}, at.Add(1)},
		{"bad ones do not count", map[string]string{"app.log": ready(at) + "HYPEMAN-AGENT-READY ts=x\nHYPEMAN-AGENT-READY\nHYPEMAN-AGENT-READY mode=exec\n"}, time.Time{}, at},
		{"no newline at the end", map[string]string{"app.log": strings.TrimSpace(ready(at))}, time.Time{}, at},
		{"cut in the time", map[string]string{"app.log": strings.TrimSuffix(ready(at), "Z\r\n")}, time.Time{}, time.Time{}},
		{"behind a long line", map[string]string{"app.log": strings.Repeat("y", 1<<20) + "\n" + ready(at)}, time.Time{}, at},
		{"in a long line", map[string]string{"app.log": strings.Repeat("y", 1<<20) + ready(at)}, time.Time{}, at},
		{"over the end of a piece", map[string]string{"app.log": strings.Repeat("y", maxLine-60) + ready(at)}, time.Time{}, at},
		{"NUL bytes and escapes", map[string]string{"app.log": "\x00\x1b[31m" + ready(at)}, time.Time{}, at},
		{"empty", map[string]string{"app.log": ""}, time.Time{}, time.Time{}},
		{"no file", nil, time.Time{}, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			boot := BootLog{Path: writeLog(t, test.files)}
			for name, marker := range map[string]struct {
				find func() (time.Time, error)
				want time.Time
			}{"start": {boot.ProgramStart, test.start}, "ready": {boot.AgentReady, test.ready}} {
				got, err := marker.find()
				if !got.Equal(marker.want) || marker.want.IsZero() != errors.Is(err, ErrNoMarker) {
					t.Errorf("%s: got %v, error %v, want %v", name, got, err, marker.want)
				}
			}
		})
	}
	if _, err := (BootLog{Path: t.TempDir()}).AgentReady(); err == nil || errors.Is(err, ErrNoMarker) {
		t.Errorf("folder: got error %v, want another than %v", err, ErrNoMarker)
	}
}

// TestScanLines reads one byte at a time, as a guest may write.
func TestScanLines(t *testing.T) {
	var got []string
	broken := errors.New("broken")
	text := io.MultiReader(iotest.OneByteReader(strings.NewReader("a\n\nb\r\nc")), iotest.ErrReader(broken))
	if err := scanLines(text, func(line []byte) { got = append(got, string(line)) }); err != broken {
		t.Errorf("got error %v, want %v", err, broken)
	}
	if diff := cmp.Diff([]string{"a", "", "b\r", "c"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
