//go:build vm

// Package nestedbazel runs Bazel within a test, offline: in a copy of the
// workspace, with an output base of its own, from what the Bazel that runs the
// test has fetched. It is for tests of the build itself.
package nestedbazel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

// Bazel is the Bazel of this machine.
type Bazel struct {
	Command   []string // how it is started
	External  string   // folder of the repositories that it has fetched
	GOROOT    string
	Root      string // folder of the Debian root that it runs in
	Workspace string // folder of a copy of the workspace
}

// Find finds the Bazel that runs the test. Targets that use it are compatible
// with those alone that tools/bazel has prepared for a closed network: others
// cannot build without the internet. See NESTED_BAZEL in this_bazel.bzl.
func Find(t *testing.T) *Bazel {
	t.Helper()
	name, err := runfiles.Rlocation("this_bazel/this_bazel.json")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var b Bazel
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Command) == 0 {
		t.Fatal("this Bazel needs the internet to resolve modules; tools/bazel with KINDLING_BAZEL=closed starts one that does not")
	}
	return &b
}

// Workspace is a copy of the workspace with an output base of its own.
type Workspace struct {
	Dir string
	// Prefix is what the command line begins with, as in umask or unshare.
	Prefix []string
	// Env is added to a minimal environment.
	Env []string
	// Flags are added to every command.
	Flags []string

	bazel *Bazel
	out   string
}

// New copies the workspace to dir, which must not exist yet. What the test
// leaves is removed at its end.
func (b *Bazel) New(t *testing.T, dir string) *Workspace {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(b.Workspace)); err != nil {
		t.Fatal(err)
	}
	w := &Workspace{Dir: dir, bazel: b, out: t.TempDir()}
	t.Cleanup(func() {
		// Bazel knows what it made read-only.
		if output, err := w.Run("clean", "--expunge"); err != nil {
			t.Errorf("clean up: %v\n%s", err, output)
		}
	})
	return w
}

// Run runs a Bazel command and gives what it printed, both streams.
func (w *Workspace) Run(verb string, args ...string) (string, error) {
	offline, err := w.bazel.offline()
	if err != nil {
		return "", err
	}
	start := append(w.bazel.Command[:len(w.bazel.Command):len(w.bazel.Command)],
		"--output_user_root="+w.out, "--max_idle_secs=600")
	line := append(w.Prefix[:len(w.Prefix):len(w.Prefix)], start...)
	line = append(line, verb)
	line = append(line, offline...)
	line = append(line, w.Flags...)
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = w.Dir
	cmd.Env = append([]string{
		"HOME=" + w.out,
		"USER=nested",
		"GOROOT=" + w.bazel.GOROOT,
		"PATH=" + w.bazel.GOROOT + "/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, w.Env...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("bazel %s: %w", verb, err)
	}
	return string(bytes.TrimSpace(output)), err
}

// offline are flags by which a build finds what has been fetched.
func (b *Bazel) offline() ([]string, error) {
	flags := []string{"--curses=no", "--color=no", "--config=airgap", "--norun_validations", "--repo_env=GOSUMDB=off"}
	proxies, err := filepath.Glob(filepath.Join(b.External, "*go_repository_cache", "pkg", "mod", "cache", "download"))
	if err != nil {
		return nil, err
	}
	if len(proxies) == 0 {
		return nil, errors.New("find Go modules: " + b.External + " has none")
	}
	var urls []string
	for _, proxy := range proxies {
		urls = append(urls, "file://"+proxy)
	}
	flags = append(flags, "--repo_env=GOPROXY="+strings.Join(urls, ","))
	packages, err := filepath.Glob(filepath.Join(b.External, "*artifacts*", "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, file := range packages {
		flags = append(flags, "--distdir="+filepath.Dir(file))
	}
	return flags, nil
}
