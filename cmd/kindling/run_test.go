package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	started = "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-02-13T15:26:27.1Z mode=exec\r\n"
	powered = "[    3.1] reboot: Power down\r\n"
)

func sentinel(code int, message string) string {
	return fmt.Sprintf("2026-02-13T15:26:28Z [INFO] [hypeman-init:entrypoint] %v\r\n", contract.ExitInfo{Code: code, Message: message})
}

// exited is all that a machine prints whose application prints output.
func exited(output string, code int) string {
	return "[    0.1] Linux\r\n" + started + output + sentinel(code, contract.NewExitInfo(code).Message) + powered
}

func TestRunOutcome(t *testing.T) {
	const noWords = "kindling: machine ended without saying how; --serial-log keeps its output, which ends in\n"
	tests := []struct {
		name, serial string
		want         result
	}{
		{"success", exited("hi\r\n", 0), result{0, "hi\n", ""}},
		{"nothing printed", exited("", 0), result{0, "", ""}},
		{"exit code", exited("hi", 7), result{7, "hi", ""}},
		{"highest exit code", exited("", 255), result{255, "", ""}},
		{"killed by a signal", exited("", 143), result{143, "", ""}},
		{"out of memory", started + sentinel(137, "killed by signal 9 (killed) - OOM"), result{137, "", "kindling: killed by signal 9 (killed) - OOM\n"}},
		{"not found", exited("", 127), result{127, "", "kindling: command not found\n"}},
		{"not executable", exited("", 126), result{126, "", "kindling: permission denied (command not executable)\n"}},
		{"same code as kindling's failures", exited("", 125), result{125, "", ""}},
		{"same code as a failed boot", exited("", 78), result{78, "", ""}},
		{"failed boot", "[    0.1] Linux\r\n" + sentinel(78, "boot failed: overlay: no disk") + powered, result{125, "", "kindling: boot failed: overlay: no disk\n"}},
		{"sentinel of the application", started + "one\r\n" + sentinel(0, "success") + "two\r\n" + sentinel(9, "exit code 9"), result{9, "one\ntwo\n", ""}},
		{"bare sentinel of the application", exited("HYPEMAN-EXIT code=0\r\n", 9), result{9, "HYPEMAN-EXIT code=0\n", ""}},
		{"exit code that no process has", started + sentinel(256, "exit code 256"), result{125, "", "kindling: guest gave exit code 256, want 0 to 255\n"}},
		{"negative exit code", started + sentinel(-1, "exit code -1"), result{125, "", "kindling: guest gave exit code -1, want 0 to 255\n"}},
		{"panic", "[    0.1] Linux\r\n" + started + "hi\r\n[    0.2] Kernel panic\r\n", result{125, "hi\n[    0.2] Kernel panic\n", noWords +
			"[    0.1] Linux\n" + strings.ReplaceAll(started, "\r", "") + "hi\n[    0.2] Kernel panic\n"}},
		{"last lines", strings.Repeat("x\r\n", 100), result{125, "", noWords + strings.Repeat("x\n", 20)}},
		{"silence", "", result{125, "", noWords + "\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			t.Setenv(serialEnv, test.serial)
			if diff := cmp.Diff(test.want, kindling("run", "--", "app")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			h.requireReleased(t)
		})
	}
}

func TestRunArguments(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	file := filepath.Join(t.TempDir(), "arguments")
	t.Setenv(argumentsEnv, file)
	if diff := cmp.Diff(result{}, kindling("run", "--name", "web", "-m", "99", "--cpus=2")); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	artifacts := filepath.Dir(os.Getenv("KINDLING_ARTIFACTS"))
	dir := strings.ReplaceAll(filepath.Join(h.state, "vm", "web"), ",", ",,")
	for _, want := range []string{
		"-accel\ntcg,thread=multi\n",
		"-m\n99M\n-smp\n2\n",
		"-kernel\n" + artifacts + "/kernel, for x86\n-initrd\n" + artifacts + "/initrd, for x86\n",
		"-append\nconsole=ttyS0 quiet\n",
		"node-name=disk0,read-only=on,file.driver=file,file.filename=" + strings.ReplaceAll(h.state, ",", ",,") + "/cache/disks/",
		"node-name=disk1,read-only=off,file.driver=file,file.filename=" + dir + "/overlay.raw\n",
		"node-name=disk2,read-only=on,file.driver=file,file.filename=" + dir + "/config.ext4\n",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("got arguments\n%s\nwant in them\n%s", data, want)
		}
	}
}

func TestRunFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string // in the message
	}{
		{"QEMU", map[string]string{failureEnv: "cannot set up guest memory"}, nil, "qemu-system-x86_64: exit status 1: cannot set up guest memory"},
		{"no QEMU", map[string]string{"PATH": ""}, nil, "Debian package qemu-system-x86)"},
		{"no manifest", nil, []string{"--artifacts", missing}, "open artifact set " + missing},
		{"no such image", nil, []string{"./none.tar"}, `load image "./none.tar": stat ./none.tar: no such file or directory`},
		{"image that is no name", nil, []string{"Upper/Case"}, `load image "Upper/Case": no such file, and could not parse reference`},
		{"no folder for serial log", nil, []string{"--serial-log", missing + "/log"}, "open serial log: open " + missing},
		{"long state folder", map[string]string{"KINDLING_STATE_DIR": "/tmp/" + strings.Repeat("x", 100)}, []string{"--name", "web"},
			"of machine web is too long for its sockets by 32 bytes; KINDLING_STATE_DIR names another place"},
		{"no home", map[string]string{"KINDLING_STATE_DIR": "", "XDG_STATE_HOME": "", "HOME": ""}, nil, "KINDLING_STATE_DIR names one"},
		{"time over", map[string]string{stoppedEnv: stubborn}, []string{"--timeout", "100ms"}, "machine did not end within 100ms\n"},
		{"time over at once", map[string]string{stoppedEnv: stubborn}, []string{"--timeout", "1ns"}, "machine did not end within 1ns\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got := kindling(append([]string{"run"}, test.args...)...)
			if got.Code != 125 || got.Stdout != "" || !strings.Contains(got.Stderr, test.want) || !strings.HasPrefix(got.Stderr, "kindling: ") {
				t.Errorf("got %+v, want code 125 and a message with %q", got, test.want)
			}
			h.requireReleased(t)
		})
	}
}

func TestRunSerialLog(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(t.TempDir(), "serial, log")
	for _, name := range []string{log, log + ".1"} {
		if err := os.WriteFile(name, []byte(exited("old\r\n", 0)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(serialEnv, "[    0.1] Linux\r\n")
	if got := kindling("run", "--serial-log", log); got.Code != 125 {
		t.Errorf("got %+v, want code 125: the outcome in the log is not that of this run", got)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("[    0.1] Linux\r\n", string(got)); diff != "" {
		t.Errorf("serial log (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestRunSerialLogFails(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("one\r\ntwo\r\n", 7))
	want := result{125, "one\ntwo\n", "kindling: write /dev/full: no space left on device\n"}
	if diff := cmp.Diff(want, kindling("run", "--serial-log", "/dev/full")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

// limitedWriter takes one write.
type limitedWriter struct {
	strings.Builder
	err error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.Len() > 0 {
		return 0, w.err
	}
	return w.Builder.Write(p)
}

func TestRunOutputFails(t *testing.T) {
	h := newHost(t)
	output := strings.Repeat("0123456789abcde\r\n", 4<<10)
	t.Setenv(serialEnv, exited(output, 7))
	log := filepath.Join(t.TempDir(), "log")
	stdout := &limitedWriter{err: errors.New("output is full")}
	var stderr strings.Builder
	code := run([]string{"run", "--serial-log", log}, strings.NewReader(""), stdout, &stderr)
	if want := "kindling: output is full\n"; code != 125 || stderr.String() != want {
		t.Errorf("got code %d, message %q, want 125 and %q", code, stderr.String(), want)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != exited(output, 7) {
		t.Errorf("serial log has %d bytes, want all %d", len(got), len(exited(output, 7)))
	}
	h.requireReleased(t)
}

func TestRunRandomNames(t *testing.T) {
	newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	for range 3 {
		if diff := cmp.Diff(result{}, kindling("run")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestLastLines(t *testing.T) {
	var text, want []string
	for i := range 10 {
		text = append(text, strconv.Itoa(i)+"\r\n")
		want = append(want, strconv.Itoa(i))
	}
	for _, count := range []int{0, 1, 9, 10, 11} {
		got := lastLines(strings.Join(text, ""), count)
		if diff := cmp.Diff(strings.Join(want[max(0, 10-count):], "\n"), got); diff != "" {
			t.Errorf("last %d lines (-want +got):\n%s", count, diff)
		}
	}
}
