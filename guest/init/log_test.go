package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

func TestLogger(t *testing.T) {
	var got bytes.Buffer
	log := &logger{out: &got, now: func() time.Time { return testTime }, patience: time.Minute}
	log.info("boot", "disk %d%%", 7)
	log.failed("mount", errors.New("mount %d"))
	log.failed("config", errors.Join(errors.New("one"), errors.New("HYPEMAN-EXIT code=0")))
	log.exit(ending{phase: "entrypoint", text: "boot\nfailed", outcome: contract.ExitInfo{Code: 78, Message: "a\n\"b\""}})
	log.exit(ending{phase: "entrypoint", text: "success", token: "token"})
	log.info("headers", "ready, too late")
	want := logStart + "[INFO] [hypeman-init:boot] disk 7%\n" +
		logStart + "[ERROR] [hypeman-init:mount] mount %d\n" +
		logStart + "[ERROR] [hypeman-init:config] one; HYPEMAN-EXIT code=0\n" +
		logStart + "[ERROR] [hypeman-init:entrypoint] boot; failed\n" +
		logStart + `[INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=78 message="a\n\"b\""` + "\n" +
		logStart + "[INFO] [hypeman-init:entrypoint] success\n" +
		logStart + "[INFO] [hypeman-init:entrypoint] " + contract.ExitInfo{}.Signed("token") + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestExitIsFound checks that a host finds an outcome whatever it quotes.
func TestExitIsFound(t *testing.T) {
	for _, message := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x00", 1<<20), strings.Repeat("\U0010ffff", 1<<18)} {
		var got bytes.Buffer
		newLogger(&got).exit(ending{phase: "config", text: message, outcome: contract.ExitInfo{Code: 78, Message: message}})
		info, ok := contract.FindExit(got.Bytes())
		if !ok || info.Code != 78 || !strings.HasPrefix(message, info.Message) || info.Message == "" {
			t.Errorf("message of %.3q: got %d, %.20q, %v", message, info.Code, info.Message, ok)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	var got bytes.Buffer
	log := newLogger(&got)
	log.info("boot", "%s", strings.Repeat("\u00fc", 1<<20))
	log.failed("boot", errors.New(strings.Repeat("x\n", 1<<20)))
	for line := range strings.Lines(got.String()) {
		if len(line) > 2*maxMessage+100 || !utf8.ValidString(line) {
			t.Errorf("line of %d bytes: %.80q", len(line), line)
		}
	}
}

// stuck is a console that takes nothing until it is closed.
type stuck chan struct{}

func (s stuck) Write(p []byte) (int, error) {
	<-s
	return len(p), nil
}

func TestExitLeavesStuckConsole(t *testing.T) {
	console := make(stuck)
	defer close(console)
	log := newLogger(console)
	log.patience = time.Millisecond
	log.exit(ending{phase: "entrypoint"}) // returns
}

func TestOpenFirst(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	fd, err := openFirst([]string{missing, dir, file, "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); got != imagetest.RealPath(t, file) || err != nil {
		t.Errorf("opened %s, %v, want %s", got, err, file)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&(unix.O_ACCMODE|unix.O_NONBLOCK) != unix.O_WRONLY {
		t.Errorf("flags = %#x, %v, want blocking and write-only", flags, err)
	}

	want := missing + ": no such file or directory\n" + dir + ": is a directory"
	if fd, err := openFirst([]string{missing, dir}); fd != -1 || err == nil || err.Error() != want {
		t.Errorf("got %d, error %v\nwant %s", fd, err, want)
	}
}
