package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// TestResetOOMScore has an agent that the kernel would rather kill than others,
// which any user may be. Under it, commands are as usual from their start.
func TestResetOOMScore(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("500"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(own, before, 0); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		reset bool
		want  string
	}{{true, "0\n0\n"}, {false, "500\n500\n"}} {
		e := mustStart(t, dial(t, Options{Env: os.Environ(), ResetOOMScore: test.reset}), sh("cat "+own+"; (cat "+own+")"))
		if got := e.end(); got != (ending{}) || e.stdout.String() != test.want {
			t.Errorf("reset %v: got %+v, %q, want %q", test.reset, got, e.stdout.String(), test.want)
		}
		if after, err := os.ReadFile(own); err != nil || string(after) != "500\n" {
			t.Errorf("reset %v: the agent's own is %q, %v, want 500", test.reset, after, err)
		}
	}
}

// TestOOMScoreOfSeveral has two commands made at once: the first that is done
// leaves the score to the other one.
func TestOOMScoreOfSeveral(t *testing.T) {
	file := filepath.Join(t.TempDir(), "oom_score_adj")
	if err := os.WriteFile(file, []byte("-999"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	score := &oomScore{file: opened, own: "-999"}
	var seen []string
	look := func() {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, string(text[:1]))
	}
	if err := score.whileUsual(func() {
		look()
		if err := score.whileUsual(look); err != nil {
			t.Error(err)
		}
		look()
	}); err != nil {
		t.Error(err)
	}
	look()
	if got, want := strings.Join(seen, " "), "0 0 0 -"; got != want {
		t.Errorf("scores begin with %s, want %s", got, want)
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	called := false
	if err := score.whileUsual(func() { called = true }); err == nil || called {
		t.Errorf("closed file: got error %v, called %v", err, called)
	}
}

// TestExecUser runs a command as another user, where this one may do so, and
// wants the kernel's refusal where not.
func TestExecUser(t *testing.T) {
	const uid, gid = 4_000_000_000, 4_000_000_001
	direct := exec.Command("/bin/sh", "-c", "exit 0")
	direct.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	directErr := direct.Run()

	for _, tty := range []bool{false, true} {
		start := &guestpb.ExecStart{
			Command: []string{"/bin/sh", "-c", `id -u; id -g; id -G; echo $HOME; test ! -t 0 || { test -O "$(tty)" && : <"$(tty)" && echo owner; }`},
			User:    fmt.Sprintf("%d:%d", uint32(uid), uint32(gid)), Cwd: "/", Tty: tty,
		}
		e := mustStart(t, dial(t, Options{Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}, ResetOOMScore: true}), start)
		end := e.end()
		if directErr != nil {
			if text := status.Convert(end.err).Message(); !strings.HasPrefix(text, "start ") {
				t.Errorf("tty %v: got %+v, %q, want no start (%v)", tty, end, text, directErr)
			}
			continue
		}
		want := "4000000000\n4000000001\n4000000001\n/\n"
		if tty {
			want += "owner\n"
		}
		if got := strings.ReplaceAll(e.stdout.String(), "\r", ""); end != (ending{}) || got != want {
			t.Errorf("tty %v: got %+v (%v), %q, %q, want %q", tty, end, end.err, got, e.stderr.String(), want)
		}
	}
}

// TestReadTable has what can stand in the place of /etc/passwd.
func TestReadTable(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.WriteFile(file("table"), []byte("x"), 0o600), os.WriteFile(file("big"), make([]byte, maxTable+1), 0o600),
		os.Mkdir(file("dir"), 0o700), unix.Mkfifo(file("fifo"), 0o600), os.Symlink("table", file("link")),
	); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, want, wantErr string }{
		{"table", "x", ""},
		{"link", "x", ""},
		{"none", "", "no such file or directory"},
		{"dir", "", "not a regular file"},
		{"fifo", "", "not a regular file"},
		{"big", "", "more than 4194304 bytes"},
	}
	for _, test := range tests {
		got, err := readTable(file(test.name))
		if test.wantErr != "" {
			if err == nil || !strings.HasSuffix(err.Error(), test.wantErr) {
				t.Errorf("%s: got %v, want %q", test.name, err, test.wantErr)
			}
			continue
		}
		if string(got) != test.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
	}
}
