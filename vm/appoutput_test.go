package vm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	startLine = "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-02-13T15:26:27.1Z mode=exec\r\n"
	exitLine  = "2026-02-13T15:26:28Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=0 message=\"success\"\r\n"
	errorLine = "2026-02-13T15:26:27Z [ERROR] [hypeman-init:agent] agent ended with status 1\r\n"
	agentLine = "2026/02/13 15:26:27 [guest-agent] listening on vsock port 2222\r\n"
	powerDown = "[    3.1] reboot: Power down\r\n"
)

func TestAppOutput(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing before start", "[ 0.1] Linux\r\n" + agentLine + "HYPEMAN-PROGRAM-START ts=1\r\n", ""},
		{"lines of the guest left out", "boot\r\n" + startLine + "one\r\n" + agentLine + "two\r\n" + errorLine + "three\r\n" + exitLine + powerDown, "one\ntwo\nthree\n"},
		{"no newline at the end", startLine + "one" + exitLine, "one"},
		{"no newline before the agent's line", startLine + "one" + agentLine + "two\r\n", "onetwo\n"},
		{"own carriage returns stay", startLine + "10%\r20%\r\r\n", "10%\r20%\r\n"},
		{"binary", startLine + "\x00\xff\r\n\r\n", "\x00\xff\n\n"},
		{"looks a little like a log line", startLine + "2026-02-13 note\r\n2026/1\r\n", "2026-02-13 note\n2026/1\n"},
		{"digits", startLine + "2026\r\n1234567", "2026\n1234567"},
		{"one character differs", startLine + "2026/02/13 15:26:27 [guest-agent_ x\r\n", "2026/02/13 15:26:27 [guest-agent_ x\n"},
		{"header behind the start of one", startLine + "2026-02-2026/02/13 15:26:27 [guest-agent] x\r\n", "2026-02-"},
		{"second start line", startLine + "one\r\n" + startLine + "two\r\n", "one\ntwo\n"},
		{"sentinel of the application", startLine + "one\r\n" + exitLine + "two\r\n" + exitLine + powerDown, "one\ntwo\n"},
		{"sentinels of the application", startLine + exitLine + "one\r\n" + exitLine + exitLine + "two\r\n" + exitLine + powerDown, "one\ntwo\n"},
		{"agent's line behind the sentinel", startLine + "one\r\n" + exitLine + agentLine + powerDown, "one\n"},
		{"sentinel before the start", exitLine + startLine + "one\r\n" + exitLine, "one\n"},
		{"sentinel that is no log line", startLine + "HYPEMAN-EXIT code=0 message=\"success\"\r\ntwo\r\n" + exitLine, "HYPEMAN-EXIT code=0 message=\"success\"\ntwo\n"},
		{"much behind the application's sentinel", startLine + exitLine + strings.Repeat("x", maxHeld+1) + exitLine, strings.Repeat("x", maxHeld+1)},
		{"cut off in a line of the guest", startLine + "one\r\n" + agentLine[:40], "one\n"},
		{"cut off before the start", startLine[:50], ""},
		{"cut off", startLine + "on", "on"},
		{"cut off in what could be a line", startLine + "x 2026-02-13T15", "x 2026-02-13T15"},
	}
	for _, test := range tests {
		for _, size := range []int{1, 2, 7, 1 << 20} {
			var got bytes.Buffer
			output := NewAppOutput(&got)
			for in := []byte(test.in); len(in) > 0; in = in[min(size, len(in)):] {
				if n, err := output.Write(in[:min(size, len(in))]); err != nil || n != min(size, len(in)) {
					t.Fatalf("%s: Write = %d, %v", test.name, n, err)
				}
			}
			if err := output.Flush(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("%s in pieces of %d (-want +got):\n%s", test.name, size, diff)
			}
		}
	}
}

func TestAppOutputIsPrompt(t *testing.T) {
	var got bytes.Buffer
	output := NewAppOutput(&got)
	for _, in := range []string{startLine, "2026-02-13 15:26 password: "} {
		if _, err := output.Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("2026-02-13 15:26 password: ", got.String()); diff != "" {
		t.Errorf("output before the line's end (-want +got):\n%s", diff)
	}
}

func TestAppOutputIsBounded(t *testing.T) {
	for _, prefix := range []string{"", startLine, startLine + agentLine[:40], startLine + exitLine, startLine + exitLine + agentLine[:40]} {
		output := NewAppOutput(&bytes.Buffer{})
		if _, err := output.Write([]byte(prefix)); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if _, err := output.Write([]byte(strings.Repeat("x", 4096))); err != nil {
				t.Fatal(err)
			}
			if held := len(output.held) + len(output.line) + len(output.after); held > maxHeld {
				t.Fatalf("behind %q: holds %d bytes, want at most %d", prefix, held, maxHeld)
			}
		}
	}
}

func TestAppOutputGivesError(t *testing.T) {
	want := errors.New("full")
	output := NewAppOutput(failingWriter{want})
	if _, err := output.Write([]byte(startLine)); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Write([]byte("x")); err != want {
		t.Errorf("got error %v, want %v", err, want)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func FuzzAppOutput(f *testing.F) {
	f.Add("one\r\n"+agentLine+"12", 3)
	f.Add(exitLine+"2026-02-2026/02/13", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		whole, pieces := passThrough(t, text, len(text)+1), passThrough(t, text, size)
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("output depends on the pieces (-whole +pieces):\n%s", diff)
		}
	})
}

// passThrough gives what is passed on of text behind the start line.
func passThrough(t *testing.T, text string, size int) string {
	var got bytes.Buffer
	output := NewAppOutput(&got)
	for in := []byte(startLine + text); len(in) > 0; {
		n := max(1, min(size, len(in)))
		if _, err := output.Write(in[:n]); err != nil {
			t.Fatal(err)
		}
		in = in[n:]
	}
	if err := output.Flush(); err != nil {
		t.Fatal(err)
	}
	return got.String()
}
