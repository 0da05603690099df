package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// fixture is a launcher in folders of its own, with programs that a test makes in
// place of the machine's: a fake writes what it was called with to log/NAME.
type fixture struct {
	*launcher
	t   *testing.T
	dir string
	err *transcript
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &fixture{t: t, dir: dir, err: &transcript{}}
	b.launcher = &launcher{
		workspace: b.path("ws"),
		workdir:   b.path("ws"),
		cache:     b.path("cache/kindling"),
		host:      b.path("host"),
		stderr:    b.err,
	}
	b.write("ws/.bazelversion", "7.7.1\n")
	b.write("ws/go.mod", "module example.com/x\n\ngo 1.2.3\n")
	b.write("ws/MODULE.bazel", `module(name = "x")

# bazel_dep(name = "rules_go", version = "9.9.9")
bazel_dep(name = "gazelle", version = "0.2.0")
bazel_dep(
    name = "rules_go",
    version = "0.1.0",
)
`)
	for _, name := range []string{"bin", "log", "tools", "cache/kindling/closed", "host", "home"} {
		b.mkdir(name)
	}
	for _, name := range []string{"bash", "cat", "dirname", "mkdir", "readlink", "sh", "sync", "tar"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, b.path("tools/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", b.path("bin")+":"+b.path("tools"))
	t.Setenv("HOME", b.path("home"))
	t.Setenv("XDG_CACHE_HOME", b.path("cache"))
	t.Setenv("TMPDIR", dir)
	t.Setenv("BENCH", dir)
	for _, name := range []string{"DEBIAN_MIRROR", "KINDLING_BAZEL", "KINDLING_MIRROR", "BAZEL_REAL", "GOFLAGS", "GOWORK", "GOOS", "GOARCH"} {
		t.Setenv(name, "")
	}
	return b
}

// closedWorld adds fakes of everything that the closed world needs.
func (b *fixture) closedWorld() {
	b.fake("apt-get", `printf 'Debian\tDebian\thttp://mirror.example/debian/\n'`)
	b.fake("bwrap", "")
	b.fake("mmdebstrap", `echo "I: made it" >&2; tar -c -C "$BENCH/rootfs" .`)
	b.write("rootfs/usr/share/bazel/build-label.txt", "7.7.1\n")
	b.write("rootfs/etc/apt/sources.list", "deb http://user:secret@mirror.example forky main\n")
	b.mkdir("host/usr/go/bin")
	b.write("mods/rules_go/go/run.sh", "#!/bin/sh\n")
	b.write("mods/bazel-gazelle/def.bzl", "x = 1\n")
	b.fake("go", `echo "$GOFLAGS $GOWORK $GOTOOLCHAIN" >>"$BENCH/log/go-env"
case "$1 $2" in
"env GOVERSION") printf 'go1.2.3\n/usr/go\n' ;;
"mod download")
  name=${4##*/}
  printf '{"Path": "%s", "Dir": "%s"}\n' "$4" "$BENCH/mods/${name%@*}" ;;
"mod vendor") mkdir vendor ;;
*) exit 64 ;;
esac`)
}

func (b *fixture) path(name string) string { return filepath.Join(b.dir, name) }

func (b *fixture) mkdir(name string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) write(name, text string) {
	b.t.Helper()
	b.mkdir(filepath.Dir(name))
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// read is a file's text, empty where there is none.
func (b *fixture) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return string(data)
}

// fake puts a program on PATH.
func (b *fixture) fake(name, script string) {
	b.t.Helper()
	b.write("bin/"+name, "#!/bin/sh\necho \"$*\" >>\"$BENCH/log/"+name+"\"\n"+script+"\n")
	if err := os.Chmod(b.path("bin/"+name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// untilAsked is a script that goes on until it is asked to end, which it notes.
const untilAsked = `trap 'echo >>"$BENCH/log/ended"; exit 1' TERM
echo >"$BENCH/started"
exec 5<>"$BENCH/never"
while :; do read -r _ <&5; done`

// started makes what untilAsked needs, and gives a function that waits until it
// runs.
func (b *fixture) started() func() {
	b.t.Helper()
	for _, name := range []string{"started", "never"} {
		if err := syscall.Mkfifo(b.path(name), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	return func() { b.read("started") }
}

// calls are the arguments of each call of a fake.
func (b *fixture) calls(name string) []string {
	b.t.Helper()
	return strings.FieldsFunc(b.read("log/"+name), func(r rune) bool { return r == '\n' })
}

// folders are the names in a folder that begin with a prefix.
func (b *fixture) folders(dir, prefix string) []string {
	b.t.Helper()
	entries, err := os.ReadDir(b.path(dir))
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// hasAll reports the first of the words that a text lacks.
func hasAll(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in:\n%s", word, text)
		}
	}
}

// transcript is what a launcher says, which many may do at once.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	said func(string) // may be nil
}

func (t *transcript) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said != nil {
		t.said(string(data))
	}
	return t.text.Write(data)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
