package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerdictIsKept(t *testing.T) {
	b := newFixture(t)
	b.fake("bazel", fakeBazel)
	b.write("version-bazel", "bazel 7.7.1\n")
	b.write("graph", "ERROR: Error accessing registry https://bcr.example/\n")
	bazel, file := b.path("bin/bazel"), b.path("cache/kindling/open.json")
	ask := func() error { return b.usable(t.Context(), bazel, "7.7.1") }
	asked := 0
	check := func(what string, err error, again bool, wantErr string) {
		t.Helper()
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%s: got %v, want %q", what, err, wantErr)
		}
		if now := len(b.calls("bazel")); (now > asked) != again {
			t.Errorf("%s: asked again: %v", what, now > asked)
		}
		asked = len(b.calls("bazel"))
	}
	change := func(v func(*verdict)) {
		t.Helper()
		known := map[string]verdict{}
		if err := json.Unmarshal([]byte(b.read("cache/kindling/open.json")), &known); err != nil {
			t.Fatal(err)
		}
		one := known[bazel]
		v(&one)
		known[bazel] = one
		data, err := json.Marshal(known)
		if err != nil {
			t.Fatal(err)
		}
		b.write("cache/kindling/open.json", string(data))
	}
	const unreachable = "cannot reach its registry of modules"

	check("first", ask(), true, unreachable)
	if diff := cmp.Diff([]string{"--version", "--noblock_for_lock mod graph", "--noblock_for_lock shutdown"}, b.calls("bazel")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	check("second", ask(), false, "delete "+file+" to ask again")
	change(func(v *verdict) { v.Checked = v.Checked.Add(-problemAge) })
	check("too old", ask(), true, unreachable)
	change(func(v *verdict) { v.Checked = v.Checked.Add(time.Hour) })
	check("from the future", ask(), true, unreachable)
	change(func(v *verdict) { v.Size++ })
	check("another Bazel", ask(), true, unreachable)
	b.write("cache/kindling/open.json", `{"Bazel": "/old/format"`)
	check("damaged", ask(), true, unreachable)
	if err := os.Remove(b.path("graph")); err != nil {
		t.Fatal(err)
	}
	check("registry is back, still believed", ask(), false, unreachable)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("deleted", ask(), true, "")
	check("usable", ask(), false, "")
	change(func(v *verdict) { v.Checked = v.Checked.Add(-problemAge) })
	check("usable for longer", ask(), false, "")
	b.write("graph", "ERROR: MODULE.bazel:3:1: syntax error\n")
	change(func(v *verdict) { v.Checked = v.Checked.Add(-verdictAge) })
	check("not sure", ask(), true, "")
	check("still not sure", ask(), true, "")
	check("other version wanted", b.usable(t.Context(), bazel, "8.0.0"), true, `.bazelversion wants "8.0.0"`)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestProbeEndsHangingBazel(t *testing.T) {
	b := newFixture(t)
	b.fake("bazel", untilAsked)
	wait := b.started()
	go wait()
	if _, err := b.probe(t.Context(), 200*time.Millisecond, b.path("bin/bazel"), "--version"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A user may have some checkout's tools/bazel on PATH as bazel.
func TestProbeOfTheLauncherItself(t *testing.T) {
	b := newFixture(t)
	b.fake("bazel", `[ "$KINDLING_BAZEL" = probe ] && [ "$BAZELISK_SKIP_WRAPPER" = true ] && exit 1; echo bazel 7.7.1`)
	t.Setenv("KINDLING_BAZEL", "open")
	if _, err := b.findOpen(t.Context(), true); err == nil {
		t.Error("took the launcher for a Bazel")
	}
	if _, err := b.command(t.Context(), "probe"); err == nil {
		t.Error("the launcher knows the world that ends it")
	}
}
