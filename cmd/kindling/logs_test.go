package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
)

func TestLogsOfKilled(t *testing.T) {
	h := newHost(t)
	u := startRun(t, "web", stubborn)
	u.signal(t, syscall.SIGKILL)
	u.wait(t)
	h.programs.AwaitGone(t)
	for range 2 {
		if diff := cmp.Diff(result{0, "up\n", ""}, kindling("logs", "web")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_, release, err := claim(h.state, "other") // sweeps
		if err != nil {
			t.Fatal(err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogsFollows(t *testing.T) {
	h := newHost(t)
	web := startRun(t, "web", "bye\r\n"+sentinel(3, "exit code 3"))
	reader := startUser(t, "logs", "-f", "web")
	reader.see(t, "up\n")
	if got := kindling("stop", "web"); got.Code != 0 {
		t.Fatalf("stop: got %+v", got)
	}
	if diff := cmp.Diff(result{0, "bye\n", ""}, reader.wait(t)); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	web.wait(t)
	h.requireReleased(t)
}

func TestLogsFollowIsInterrupted(t *testing.T) {
	newHost(t)
	web := startRun(t, "web", "bye\r\n"+sentinel(3, "exit code 3"))
	reader := startUser(t, "logs", "-f", "web")
	reader.see(t, "up\n")
	reader.signal(t, syscall.SIGINT)
	if diff := cmp.Diff(result{}, reader.wait(t)); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if got := kindling("stop", "web"); got.Code != 0 {
		t.Fatalf("stop: got %+v", got)
	}
	web.wait(t)
}

func TestLogReaderRotation(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, machinesFolder, "web")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := vm.OpenSerialLog(filepath.Join(dir, outputFile), 20)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := log.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("11111\n22222\n") // the first is in the older file
	reader, err := openLog(state, "web", outputFile)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := reader.printTail(&got, -1); err != nil {
		t.Fatal(err)
	}
	write("33333\n")
	// The machine ends.
	if err := os.Rename(dir, filepath.Join(state, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := reader.printMore(&got); err != nil {
		t.Fatal(err)
	}
	if want := "11111\n22222\n33333\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
	if err := os.Rename(filepath.Join(state, "moved"), dir); err != nil {
		t.Fatal(err)
	}
	write("44444\n55555\n66666\n")
	if err := reader.printMore(&got); err == nil || err.Error() != "read log: it grew faster than it was read" {
		t.Errorf("got error %v, want that something is missing", err)
	}
	if err := reader.close(); err != nil {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

func TestTailOf(t *testing.T) {
	tests := []struct {
		text  string
		lines int
		want  string
	}{
		{"", 1, ""},
		{"a\nb\n", 1, "b\n"},
		{"a\nb", 1, "b"},
		{"a\nb", 2, "a\nb"},
		{"a\n\n", 1, "\n"},
		{"\n\n\n", 2, "\n\n"},
		{"a\n", 0, ""},
		{strings.Repeat("x\n", 9), 100, strings.Repeat("x\n", 9)},
	}
	for _, test := range tests {
		if got := string(tailOf([]byte(test.text), test.lines)); got != test.want {
			t.Errorf("last %d lines of %q: got %q, want %q", test.lines, test.text, got, test.want)
		}
	}
}
