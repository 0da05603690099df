package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oddWords are what a shell could misread.
var oddWords = []string{"plain", "", " ", "a b", "it's", `"$HOME"`, "`id`", `\`, `\'`, "line\nbreak", "end\n", "*", "~", "$(exit 3)", "ünï", "-n"}

func TestShellQuoteSurvivesShell(t *testing.T) {
	b := newFixture(t)
	b.fake("show", `printf '%s' "$VALUE" >"$BENCH/value"; for word; do printf '<%s>' "$word"; done`)
	start := command{env: []variable{{"VALUE", "it's\n$x"}}, args: append([]string{b.path("bin/show")}, oddWords...)}
	out, err := exec.Command("sh", "-c", start.shell()+` "$@"`, "sh", "more words").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "<" + strings.Join(append(oddWords[:len(oddWords):len(oddWords)], "more words"), "><") + ">"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("it's\n$x", b.read("value")); diff != "" {
		t.Errorf("variable (-want +got):\n%s", diff)
	}
}

func TestCacheDirRefusesTmp(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/tmp/kindling-launcher-test")
	_, err := cacheDir()
	if err == nil || !strings.Contains(err.Error(), "set XDG_CACHE_HOME to another place") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat("/tmp/kindling-launcher-test"); err == nil {
		t.Error("made the folder that it refused")
	}
}

func TestCacheDirWithoutHome(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := cacheDir(); err == nil || !strings.HasPrefix(err.Error(), "find cache folder: ") {
		t.Errorf("got %v", err)
	}
}

func TestRunUsage(t *testing.T) {
	var out, stderr strings.Builder
	if err := run(t.Context(), []string{"one"}, &out, &stderr); err == nil || !strings.HasPrefix(err.Error(), "usage: ") {
		t.Errorf("got %v", err)
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a/b", "/a", true},
		{"/a", "/a", true},
		{"/ab", "/a", false},
		{"/a", "/", true},
		{"/a", "/a/b", false},
	} {
		if got := within(c.path, c.dir); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

// A Bazel as the fakes play it: its version, and what becomes of resolving the
// workspace's modules.
const fakeBazel = `case "$*" in
--version) cat "$BENCH/version-${0##*/}" ;;
*"mod graph") [ -e "$BENCH/graph" ] || exit 0; cat "$BENCH/graph" >&2; exit 2 ;;
*shutdown) ;;
*) exit 64 ;;
esac`

func TestWorlds(t *testing.T) {
	const (
		down   = "ERROR: Error accessing registry https://bcr.example/: Unknown host\n"
		broken = "ERROR: MODULE.bazel:3:1: syntax error\n"
	)
	for _, c := range []struct {
		name     string
		world    string
		bazelisk string // version, none for absent
		bazel    string
		graph    string // error of "mod graph"
		want     string // program
		wantErr  string
	}{
		{name: "nothing there", want: "env"},
		{name: "bazelisk", bazelisk: "7.7.1", want: "bazelisk"},
		{name: "bazel", bazel: "7.7.1", want: "bazel"},
		{name: "bazelisk before bazel", bazelisk: "7.7.1", bazel: "7.7.1", want: "bazelisk"},
		{name: "bazelisk cannot download", bazelisk: "6.0.0", bazel: "7.7.1", want: "bazel"},
		{name: "other version", bazel: "7.7.10", want: "env"},
		{name: "no registry", bazelisk: "7.7.1", bazel: "7.7.1", graph: down, want: "env"},
		{name: "user's mistake", bazelisk: "7.7.1", graph: broken, want: "bazelisk"},
		{name: "forced closed", world: "closed", bazelisk: "7.7.1", want: "env"},
		{name: "forced open", world: "open", bazel: "7.7.1", graph: down, want: "bazel"},
		{name: "forced open, other version", world: "open", bazel: "7.0.0", wantErr: `is version "7.0.0", .bazelversion wants "7.7.1"`},
		{name: "forced open, nothing there", world: "open", wantErr: "find bazel for KINDLING_BAZEL=open: "},
		{name: "unknown world", world: "ajar", wantErr: `KINDLING_BAZEL is "ajar", want open or closed`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFixture(t)
			b.closedWorld()
			for name, version := range map[string]string{"bazelisk": c.bazelisk, "bazel": c.bazel} {
				if version != "" {
					b.fake(name, fakeBazel)
					b.write("version-"+name, "bazel "+version+"\n")
				}
			}
			if c.graph != "" {
				b.write("graph", c.graph)
			}
			start, err := b.command(t.Context(), c.world)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Errorf("got %v, want %q", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if want != "env" {
				want = b.path("bin/" + want)
			}
			if start.args[0] != want {
				t.Errorf("got %v, want %s", start.args, want)
			}
			if made := len(b.calls("mmdebstrap")) > 0; made != (want == "env") {
				t.Errorf("made a root: %v", made)
			}
		})
	}
}

func TestClosedCommand(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	start, err := b.closed(t.Context(), errors.New("because"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(start.args, "/usr/bin/bazel")
	inside, err := json.Marshal(start.args[at : len(start.args)-1]) // all but what tells servers of other mounts apart
	if err != nil {
		t.Fatal(err)
	}
	told := []variable{
		{"KINDLING_START", string(inside)},
		{"KINDLING_ROOT", b.path("cache/kindling/closed/root-" + digest(append(packages, suite)...))},
	}
	if diff := cmp.Diff(append(told[:2:2], variable{"DEBIAN_MIRROR", "http://mirror.example/debian"}), start.env, cmp.AllowUnexported(variable{})); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	hasAll(t, b.err.String(), "no Bazel of this machine's own: because", "tools/bazel: made it", "about a minute, once")
	first := b.err.String()

	again, err := b.closed(t.Context(), errors.New("because"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(start, again, cmp.AllowUnexported(command{}, variable{})); diff != "" {
		t.Errorf("second call (-first +second):\n%s", diff)
	}
	if b.err.String() != first {
		t.Errorf("second call says: %s", strings.TrimPrefix(b.err.String(), first))
	}

	t.Setenv("DEBIAN_MIRROR", "http://other.example") // which Bazel sees by itself
	if start, err = b.closed(t.Context(), errors.New("because")); err != nil || !slices.Equal(start.env, told) {
		t.Errorf("got %v, %v", start.env, err)
	}
	t.Setenv("DEBIAN_MIRROR", "")
	b.fake("apt-get", "exit 1") // a root that is there needs no mirror
	if start, err = b.closed(t.Context(), errors.New("because")); err != nil || !slices.Equal(start.env, told) {
		t.Errorf("got %v, %v", start.env, err)
	}
}

func TestClosedWarnsOfOtherBazel(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.write("rootfs/usr/share/bazel/build-label.txt", "8.0.0\n")
	if _, err := b.closed(t.Context(), errors.New("because")); err != nil {
		t.Fatal(err)
	}
	hasAll(t, b.err.String(), "warning: Debian forky has Bazel 8.0.0, .bazelversion wants 7.7.1")
}

func TestCommandStopsWithContext(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.fake("bazel", untilAsked)
	wait := b.started()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		wait()
		cancel()
	}()
	if _, err := b.command(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if b.read("cache/kindling/open.json") != "" {
		t.Error("kept a verdict of an interrupted question")
	}
	if calls := b.calls("mmdebstrap"); len(calls) > 0 {
		t.Errorf("went on to make a root: %v", calls)
	}
}
