package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

func TestConcurrentChange(t *testing.T) {
	w := newWorkspace(t)
	other := strings.Replace(w.read(t), `"version": "6"`, `"version": "7"`, 1)
	s := fetchtest.NewServer(t, func(s *fetchtest.Server, rw http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(w.lock, []byte(other), 0o600); err != nil {
			panic(err)
		}
		fetchtest.With(http.StatusOK, kernel)(s, rw, r)
	})
	s.Start()
	got := w.pin("update", "linux", "--arch", "x86_64", "--from", s.URL, "--allow-http-loopback")
	want := "pin: update linux x86_64: write lock: " + w.lock + " has changed since it was read; run the command again\n"
	if got != (result{1, "", want}) || w.read(t) != other {
		t.Errorf("got %+v\nwant error %s", got, want)
	}
	w.requireClean(t)
}

func TestLockIsLink(t *testing.T) {
	w := newWorkspace(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(w.lock, link); err != nil {
		t.Fatal(err)
	}
	if got := w.pin("--lock", link, "update", "linux", "--arch", "x86_64"); got.Code != 0 {
		t.Fatalf("got %+v", got)
	}
	if target, err := os.Readlink(link); target != w.lock || err != nil || !w.parse(t).Lookup("linux", "x86_64").Pinned() {
		t.Errorf("link is %q, %v; lock is %s", target, err, w.read(t))
	}
}

func TestBadLock(t *testing.T) {
	w := newWorkspace(t)
	if err := os.WriteFile(w.lock, []byte(strings.Replace(w.read(t), "GPL-2.0-only", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"update", "linux", "--arch", "x86_64"},
		{"check"},
		{"default", "debian", "--base", "busybox"},
		{"--lock", "./nosuch/../nosuch.json", "check"},
	} {
		want := "pin: " + w.lock + ": check lock: artifact 0 (busybox aarch64): license is empty\n"
		if args[0] == "--lock" {
			want = "pin: find lock: lstat nosuch"
		}
		w.requireError(t, result{1, "", want}, args...)
	}
}
