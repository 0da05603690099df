package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script puts tools/bazel into a workspace, and gives its path.
func (b *fixture) script(workspace string) string {
	b.t.Helper()
	text, err := os.ReadFile("../bazel")
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(workspace+"/tools/bazel", string(text))
	return b.path(workspace + "/tools/bazel")
}

// fakeGo answers tools/bazel; what the launcher would print is in a file.
const fakeGo = `case "$1" in
env) printf 'linux\namd64\nlocal\n' ;;
version) echo "go version go1.19" ;;
run)
  printf '%s\n' "$PWD" "$3" "$4" >"$BENCH/run"
  echo "$GOOS $GOARCH $GOTOOLCHAIN $GO111MODULE $GOFLAGS $GOWORK" >"$BENCH/run-env"
  cat "$BENCH/printed" ;;
esac`

const fakeTarget = `for word; do printf '<%s>' "$word"; done; echo "$GOFLAGS|$DEBIAN_MIRROR"; exit 7`

// call runs tools/bazel and gives its output and exit code.
func (b *fixture) call(script, dir string, args ...string) (string, int) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "bash", append([]string{script}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestScriptGivesWayToBazelisk(t *testing.T) {
	b := newFixture(t)
	b.fake("real", fakeTarget)
	t.Setenv("BAZEL_REAL", b.path("bin/real"))
	out, code := b.call(b.script("ws"), b.dir, "--help", "a b", "")
	if out != "<--help><a b><>|\n" || code != 7 {
		t.Errorf("got %q, %d", out, code)
	}
}

func TestScriptWithoutGo(t *testing.T) {
	b := newFixture(t)
	out, code := b.call(b.script("ws"), b.dir, "build")
	if !strings.HasPrefix(out, "tools/bazel: no go on PATH; install Go") || code != 1 {
		t.Errorf("got %q, %d", out, code)
	}
}

func TestScriptWithOldGo(t *testing.T) {
	b := newFixture(t)
	b.fake("go", strings.Replace(fakeGo, `\nlocal\n`, `\n\n`, 1))
	out, code := b.call(b.script("ws"), b.dir, "build")
	if out != "tools/bazel: go version go1.19 is too old; install Go 1.21 or later\n" || code != 1 {
		t.Errorf("got %q, %d", out, code)
	}
}

func TestScriptPassesFailureOn(t *testing.T) {
	for what, script := range map[string]string{
		"launcher": strings.Replace(fakeGo, `cat "$BENCH/printed"`, `echo "no luck" >&2; exit 2`, 1),
		"go":       `echo "no luck" >&2; exit 2`,
	} {
		b := newFixture(t)
		b.fake("go", script)
		out, code := b.call(b.script("ws"), b.dir, "build")
		if out != "no luck\n" || code != 1 {
			t.Errorf("%s fails: got %q, %d", what, out, code)
		}
	}
}

// A Go that is older than go.mod wants must find the toolchain in the mirror
// before it can run the launcher.
func TestScriptWithMirror(t *testing.T) {
	b := newFixture(t)
	b.fake("go", strings.Replace(fakeGo, "echo \"$GOOS", "echo \"$GOPROXY $GOSUMDB $GOOS", 1))
	b.write("printed", ":\n")
	t.Setenv("KINDLING_MIRROR", "/my mirror")
	if out, code := b.call(b.script("ws"), b.dir, "build"); out != "" || code != 0 {
		t.Errorf("got %q, %d", out, code)
	}
	if diff := cmp.Diff("file:///my mirror/goproxy off linux amd64 auto on -buildvcs=false off\n", b.read("run-env")); diff != "" {
		t.Errorf("launcher's environment (-want +got):\n%s", diff)
	}
}

func TestScriptQuotes(t *testing.T) {
	b := newFixture(t)
	b.fake("go", fakeGo)
	b.fake("target", fakeTarget)
	odd := "it's \"my\" $ws\n`x` \\"
	b.mkdir(odd + "/sub dir")
	start := command{env: []variable{{"DEBIAN_MIRROR", "http://it's"}}, args: append([]string{b.path("bin/target")}, oddWords...)}
	b.write("printed", start.shell()+"\n")
	for name, value := range map[string]string{"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOARCH": "mips", "GOWORK": "/x", "GO111MODULE": "off", "CDPATH": "/"} {
		t.Setenv(name, value)
	}
	out, code := b.call(b.script(odd), b.path(odd+"/sub dir"), "build", "//a b/...")
	words := append(append([]string{}, oddWords...), "build", "//a b/...")
	want := "<" + strings.Join(words, "><") + ">-mod=vendor|http://it's\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 7 {
		t.Errorf("exit code %d, output (-want +got):\n%s", code, diff)
	}
	workspace := b.path(odd)
	if diff := cmp.Diff(workspace+"\n"+workspace+"\n"+workspace+"/sub dir\n", b.read("run")); diff != "" {
		t.Errorf("launcher's folders (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("linux amd64 auto on -buildvcs=false off\n", b.read("run-env")); diff != "" {
		t.Errorf("launcher's environment (-want +got):\n%s", diff)
	}
}
