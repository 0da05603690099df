//go:build vm

// Package airgap has the test that a mirror is all that a build needs.
package airgap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/kindling-vm/kindling/test/internal/nestedbazel"
)

// machine is one that has a checkout, Go and bubblewrap, and nothing else: an
// empty home, no network but lo.
type machine struct {
	t         *testing.T
	bazel     *nestedbazel.Bazel
	dir       string // in which all else is
	workspace string
	mirror    string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	bazel := nestedbazel.Find(t)
	// Bazel's sandbox hides /tmp, where t.TempDir is.
	dir, err := os.MkdirTemp(os.Getenv("TEST_TMPDIR"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	m := &machine{t: t, bazel: bazel, dir: dir, workspace: filepath.Join(dir, "ws"), mirror: filepath.Join(dir, "mirror")}
	if err := os.CopyFS(m.workspace, os.DirFS(m.bazel.Workspace)); err != nil {
		t.Fatal(err)
	}
	return m
}

// command runs a program on the machine.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = m.workspace
	cmd.Env = []string{
		"HOME=" + filepath.Join(m.dir, "home"),
		"XDG_CACHE_HOME=" + filepath.Join(m.dir, "cache"),
		"GOMODCACHE=" + filepath.Join(m.dir, "modcache"),
		"USER=nobody",
		"PATH=" + m.bazel.GOROOT + "/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"KINDLING_MIRROR=" + m.mirror,
	}
	return cmd
}

// makeMirror makes the mirror as `bazel run` does, on a machine that has all.
func (m *machine) makeMirror() {
	m.t.Helper()
	env, err := runfiles.Env()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := m.command(program(m.t, "MIRROR"), m.mirror)
	cmd.Env = append(append(cmd.Env, env...), "BUILD_WORKSPACE_DIRECTORY="+m.workspace, "KINDLING_ROOT="+m.bazel.Root)
	output, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("make mirror: %v\n%s", err, output)
	}
	m.t.Logf("%s", output)
}

// start is the shell command by which tools/bazel starts Bazel.
func (m *machine) start() (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := m.command(program(m.t, "LAUNCHER"), m.workspace, m.workspace)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("launcher: %w\n%s", err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// run runs a Bazel command and gives what it printed, both streams.
func (m *machine) run(args ...string) (string, error) {
	start, err := m.start()
	if err != nil {
		return "", err
	}
	script := strings.TrimSpace(start) + ` --max_idle_secs=600 "$@"`
	output, err := m.command("sh", append([]string{"-c", script, "sh"}, args...)...).CombinedOutput()
	return string(output), err
}

// program is the path of a program that the environment names.
func program(t *testing.T, variable string) string {
	t.Helper()
	path, err := runfiles.Rlocation(os.Getenv(variable))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMirrorIsEnough(t *testing.T) {
	m := newMachine(t)
	checkOnlyLoopback(t)
	m.makeMirror()
	digests := m.digests()
	t.Cleanup(func() {
		// They know what they made read-only.
		if output, err := m.run("clean", "--expunge"); err != nil {
			t.Errorf("clean up: %v\n%s", err, output)
		}
		if output, err := m.command(m.bazel.GOROOT+"/bin/go", "clean", "-modcache").CombinedOutput(); err != nil {
			t.Errorf("clean up: %v\n%s", err, output)
		}
	})
	output, err := m.run("test", "--config=airgap", "--curses=no", "--color=no", "--norun_validations",
		"//system:busybox", "//system:lock_test")
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, kind := range []struct{ name, pattern string }{
		{"package", "distdir/busybox_*/*.deb"},
		{"module", "goproxy/golang.org/x/sys/@v/*.zip"},
		{"rules", "goproxy/github.com/bazelbuild/rules_go/@v/*.zip"},
		{"root", "root-*.tar.gz"},
	} {
		t.Run("without "+kind.name, func(t *testing.T) { m.failsWithout(t, digests, kind.pattern) })
	}
}

// checkOnlyLoopback makes sure that nothing here can have come from a network.
func checkOnlyLoopback(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range lines[2:] { // below two of headings
		if name, _, _ := strings.Cut(strings.TrimSpace(line), ":"); name != "lo" {
			t.Fatalf("there is a network: %s", name)
		}
	}
}

// digests are those in the manifest, by path.
func (m *machine) digests() map[string]string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.mirror, "manifest.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	var manifest struct {
		Files []struct{ Path, SHA256 string }
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		m.t.Fatal(err)
	}
	digests := map[string]string{}
	for _, file := range manifest.Files {
		digests[file.Path] = file.SHA256
	}
	return digests
}

// failsWithout takes the first file of a pattern away, and puts it back.
func (m *machine) failsWithout(t *testing.T, digests map[string]string, pattern string) {
	paths, err := filepath.Glob(filepath.Join(m.mirror, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("the mirror has no %s", pattern)
	}
	path := paths[0]
	name := strings.TrimPrefix(path, m.mirror+"/")
	if digests[name] == "" {
		t.Fatalf("the manifest has no %s", name)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	_, startErr := m.start()
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if startErr == nil {
		t.Fatal("no error")
	}
	file := "file " + name + " (SHA-256 " + digests[name] + ", "
	for _, want := range []string{"use mirror " + m.mirror + ": " + file, " is missing\n"} {
		if !strings.Contains(startErr.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, startErr)
		}
	}
}
