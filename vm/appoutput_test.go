package vm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	startLine = "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-02-13T15:26:27.1Z mode=exec\r\n"
	exitLine  = "2026-02-13T15:26:28Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=0 message=\"success\"\r\n"
	agentLine = "2026/02/13 15:26:27 [guest-agent] listening on vsock port 2222\r\n"
)

func TestAppOutput(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing before start", "[ 0.1] Linux\r\n" + agentLine + "HYPEMAN-PROGRAM-START ts=1\r\n", ""},
		{"lines of the guest left out", "boot\r\n" + startLine + "one\r\n" + agentLine + "two\r\n" + exitLine + "[ 3.1] reboot: Power down\r\n", "one\ntwo\n"},
		{"no newline at the end", startLine + "one" + exitLine, "one"},
		{"no newline before the agent's line", startLine + "one" + agentLine + "two\r\n", "onetwo\n"},
		{"own carriage returns stay", startLine + "10%\r20%\r\r\n", "10%\r20%\r\n"},
		{"binary", startLine + "\x00\xff\r\n\r\n", "\x00\xff\n\n"},
		{"looks a little like a log line", startLine + "2026-02-13 note\r\n2026/1\r\n", "2026-02-13 note\n2026/1\n"},
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
	for _, in := range []string{startLine, "password: "} {
		if _, err := output.Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("password: ", got.String()); diff != "" {
		t.Errorf("output before the line's end (-want +got):\n%s", diff)
	}
}

func TestAppOutputIsBounded(t *testing.T) {
	for _, prefix := range []string{"", startLine, startLine + "2026-02-13T15"} {
		output := NewAppOutput(&bytes.Buffer{})
		if _, err := output.Write([]byte(prefix)); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if _, err := output.Write([]byte(strings.Repeat("x", 4096))); err != nil {
				t.Fatal(err)
			}
		}
		if len(output.held) > 2*maxHeld {
			t.Errorf("behind %q: holds %d bytes, want at most %d", prefix, len(output.held), 2*maxHeld)
		}
	}
}
