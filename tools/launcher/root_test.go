package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errReason = errors.New("because")

func (b *fixture) ensure(ctx context.Context) (string, error) {
	return b.ensureRoot(ctx, b.path("cache/kindling/closed"), errReason)
}

// nothingLeft checks that no root is there, whole or half.
func (b *fixture) nothingLeft() {
	b.t.Helper()
	if got := b.folders("cache/kindling/closed", "root-"); len(got) > 0 {
		b.t.Errorf("left %v", got)
	}
}

func TestEnsureRoot(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.write("bin/tar", "#!/bin/sh\nreadlink /proc/self/fd/3 >>\"$BENCH/log/tar-fd3\"\nexec \"$BENCH/tools/tar\" \"$@\"\n")
	if err := os.Chmod(b.path("bin/tar"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.fake("mmdebstrap", `tar -c -C "$BENCH/rootfs" . 3<&-`)
	root, err := b.ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`--variant=essential --format=tar --aptopt=Acquire::Check-Valid-Until "false" --aptopt=Acquire::Retries "3" ` +
		"--include=" + strings.Join(packages, ",") + " forky - http://mirror.example/debian"}
	if diff := cmp.Diff(want, b.calls("mmdebstrap")); diff != "" {
		t.Errorf("mmdebstrap (-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(root + "/usr/share/bazel/build-label.txt"); err != nil || string(data) != "7.7.1\n" {
		t.Errorf("root has %q, %v", data, err)
	}
	if _, err := os.Stat(root + "/etc/apt/sources.list"); err == nil {
		t.Error("root has apt's sources, which can hold a password")
	}
	if !slices.Contains(b.calls("tar-fd3"), b.path("cache/kindling/closed/lock")) {
		t.Errorf("tar does not hold the lock: %v", b.calls("tar-fd3"))
	}
	if _, err := b.ensure(t.Context()); err != nil || len(b.calls("mmdebstrap")) != 1 {
		t.Errorf("second call: %v, mmdebstrap %v", err, b.calls("mmdebstrap"))
	}
}

func TestEnsureRootFails(t *testing.T) {
	const mirror = "http://user:se@cret@mirror.example/debian"
	for _, c := range []struct {
		name, mmdebstrap, tar string
		want                  []string
	}{
		{"mirror", `echo "E: cannot fetch http://user:se@cret@mirror.example/debian/dists/forky/InRelease" >&2; exit 25`, "",
			[]string{"mmdebstrap: exit status 25", "    E: cannot fetch http://mirror.example/debian/dists"}},
		{"cut short", `tar -c -C "$BENCH/rootfs" .; exit 3`, "",
			[]string{"mmdebstrap: exit status 3"}},
		{"disk full", `tar -c -C "$BENCH/rootfs" .`, "cat >/dev/null; echo 'tar: No space left on device' >&2; exit 2",
			[]string{"tar: exit status 2", "    tar: No space left on device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFixture(t)
			b.closedWorld()
			t.Setenv("DEBIAN_MIRROR", mirror)
			b.fake("mmdebstrap", strings.ReplaceAll(c.mmdebstrap, "tar -c", "$BENCH/tools/tar -c"))
			if c.tar != "" {
				b.fake("tar", c.tar)
			}
			_, err := b.ensure(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			log := "cache/kindling/closed/root.log"
			hasAll(t, err.Error(), append(c.want, "make Debian root: ", "\nlog: "+b.path(log))...)
			b.nothingLeft()
			for what, text := range map[string]string{"error": err.Error(), "log": b.read(log), "stderr": b.err.String()} {
				if strings.Contains(text, "cret") {
					t.Errorf("%s has the password:\n%s", what, text)
				}
			}
			if info, err := os.Stat(b.path(log)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("log: got %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestEnsureRootAfterKilledRun(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	name := "cache/kindling/closed/root-" + digest(append(packages, suite)...) + ".partial"
	b.write(name+"/half", "")
	root, err := b.ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/half"); err == nil {
		t.Error("the root has what a killed run left")
	}
	if got := b.folders("cache/kindling/closed", "root-"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestEnsureRootOnceForMany(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := b.ensure(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if calls := b.calls("mmdebstrap"); len(calls) != 1 {
		t.Errorf("mmdebstrap ran %d times", len(calls))
	}
}

func TestEnsureRootStops(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.fake("mmdebstrap", untilAsked)
	wait := b.started()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		wait()
		cancel()
	}()
	if _, err := b.ensure(ctx); err == nil {
		t.Error("no error")
	}
	if b.read("log/ended") == "" {
		t.Error("mmdebstrap was not asked to end")
	}
	b.nothingLeft()

	b.fake("mmdebstrap", `tar -c -C "$BENCH/rootfs" .`)
	if _, err := b.ensure(t.Context()); err != nil {
		t.Errorf("next run: %v", err)
	}
}

func TestLockIsWaitedFor(t *testing.T) {
	b := newFixture(t)
	name := b.path("cache/kindling/closed/lock")
	held, err := b.lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	b.err.said = func(text string) {
		b.err.said = nil
		hasAll(t, text, "waiting for another tools/bazel, which is preparing "+b.path("cache/kindling/closed"))
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
	second, err := b.lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()

	ctx, cancel := context.WithCancel(t.Context())
	b.err.said = func(string) { cancel() }
	if _, err := b.lock(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A launcher that is killed leaves children, which go on to write.
func TestLockIsHeldByChildren(t *testing.T) {
	b := newFixture(t)
	ready := b.started()
	name := b.path("cache/kindling/closed/lock")
	held, err := b.lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	b.fake("child", untilAsked)
	child := gentle(exec.CommandContext(t.Context(), b.path("bin/child")))
	child.ExtraFiles = []*os.File{held}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ready()
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	b.err.said = func(string) {
		if err := child.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	again, err := b.lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	hasAll(t, b.err.String(), "waiting for another")
	if err := child.Wait(); err == nil {
		t.Error("child ended well")
	}
}

func TestProgress(t *testing.T) {
	var log, shown bytes.Buffer
	l := &launcher{stderr: &shown}
	p := &progress{log: &log, say: l.say, secret: "me:pw@"}
	for _, piece := range []string{"I: one\nGet http://me:p", "w@host/\nI: tw", "o\nunfinished"} {
		if n, err := p.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if diff := cmp.Diff("tools/bazel: one\ntools/bazel: two\n", shown.String()); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("I: one\nGet http://host/\nI: two\n", log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestTail(t *testing.T) {
	b := newFixture(t)
	b.write("text", "one\ntwo\n"+strings.Repeat("x", 300)+"\n")
	if diff := cmp.Diff("\n    two\n    "+strings.Repeat("x", 200), tail(b.path("text"), 2)); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
	b.write("empty", "")
	if got := tail(b.path("empty"), 2) + tail(b.path("absent"), 2); got != "" {
		t.Errorf("got %q", got)
	}
}
