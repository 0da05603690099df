package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// terminalSignals go to all processes in a terminal's foreground. Bubblewrap
// waits for Bazel, and what Bazel runs; it must not end before them.
const terminalSignals = "HUP,INT,QUIT"

// closed prepares everything that the closed world needs and gives the command
// that starts Bazel in it. The reason says why it is not the open one.
func (l *launcher) closed(ctx context.Context, reason error) (command, error) {
	if runtime.GOOS != "linux" {
		return command{}, fmt.Errorf("find bazel: %w (and only Linux has another way)", reason)
	}
	dir := filepath.Join(l.cache, "closed")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return command{}, fmt.Errorf("make cache folder: %w", err)
	}
	root, err := l.ensureRoot(ctx, dir, reason)
	if err != nil {
		return command{}, err
	}
	if err := l.checkLabel(root); err != nil {
		return command{}, err
	}
	version, sdk, err := l.goSDK(ctx)
	if err != nil {
		return command{}, err
	}
	modules, err := l.ensureModules(ctx, dir, version, sdk)
	if err != nil {
		return command{}, err
	}
	options, err := keepFile(dir, "bazelrc", []byte(rc(modules, l.mirror)))
	if err != nil {
		return command{}, fmt.Errorf("write options: %w", err)
	}
	sandbox, err := l.bubblewrap(dir, root, sdk)
	if err != nil {
		return command{}, err
	}
	// A running server lives with the files that it was started with: others
	// must mean another server, and start-up options are how Bazel tells.
	mounts := digest(slices.Concat(sandbox, []string{version})...)
	bazel := []string{"/usr/bin/bazel", "--nosystem_rc", "--install_base=/usr/share/bazel", "--trust_install_base", "--bazelrc=" + options}
	inside, err := json.Marshal(bazel)
	if err != nil {
		return command{}, err
	}
	start := command{
		env: []variable{{"KINDLING_START", string(inside)}, {"KINDLING_ROOT", root}},
		args: slices.Concat([]string{"env", "--ignore-signal=" + terminalSignals}, sandbox,
			[]string{"--chdir", l.insideDir(), "--", "env", "--default-signal=" + terminalSignals},
			bazel,
			[]string{"--host_jvm_args=-Dkindling.mounts=" + mounts},
		),
	}
	if os.Getenv("DEBIAN_MIRROR") == "" && l.mirror == nil {
		// The root has no apt to ask. Builds that need no package go on without,
		// and those that do say themselves what to set.
		if mirror, err := l.debianMirror(ctx); err == nil {
			start.env = append(start.env, variable{"DEBIAN_MIRROR", mirror})
		}
	}
	return start, nil
}

// insideDir is where Bazel starts. Elsewhere than in the workspace it only
// answers questions, so any folder that exists inside will do.
func (l *launcher) insideDir() string {
	if within(l.workdir, l.workspace) || !rootOwned[top(l.workdir)] {
		return l.workdir
	}
	return "/"
}

// checkLabel warns of a root whose Bazel is not the wanted one: Debian moves on.
func (l *launcher) checkLabel(root string) error {
	want, err := l.wantedVersion()
	if err != nil {
		return err
	}
	label, err := os.ReadFile(filepath.Join(root, "usr/share/bazel/build-label.txt"))
	if err != nil {
		return fmt.Errorf("read Bazel's version (delete %s to make it again): %w", root, err)
	}
	if got := strings.TrimSpace(string(label)); got != want {
		l.say("warning: Debian %s has Bazel %s, .bazelversion wants %s", suite, got, want)
	}
	return nil
}

var goDirective = regexp.MustCompile(`(?m)^go (\S+)$`)

// goSDK is the root of the Go SDK of exactly the version in go.mod, which is
// the version that the open world downloads. Go itself fetches it as a module
// where the machine has another.
func (l *launcher) goSDK(ctx context.Context) (version, sdk string, err error) {
	mod, err := os.ReadFile(filepath.Join(l.workspace, "go.mod"))
	if err != nil {
		return "", "", fmt.Errorf("read Go version: %w", err)
	}
	match := goDirective.FindSubmatch(mod)
	if match == nil {
		return "", "", errors.New("go.mod has no go line")
	}
	version = "go" + string(match[1])
	out, err := output(l.goCommand(ctx, l.workspace, version, "env", "GOVERSION", "GOROOT"))
	if err != nil {
		return "", "", fmt.Errorf("find Go SDK %s: %w", version, err)
	}
	got, sdk, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if got != version {
		return "", "", fmt.Errorf("find Go SDK: got %s, go.mod wants %s", got, version)
	}
	return version, sdk, nil
}

// goCommand calls the go of a version, without what a user has set for other
// builds. GOFLAGS cannot be empty, which means what `go env -w` has written.
func (l *launcher) goCommand(ctx context.Context, dir, version string, args ...string) *exec.Cmd {
	cmd := gentle(exec.CommandContext(ctx, "go", args...))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GO111MODULE=on", "GOFLAGS=-mod=mod", "GOTOOLCHAIN="+version, "GOWORK=off")
	if l.mirror != nil {
		cmd.Env = append(cmd.Env, l.mirror.env()...)
	}
	return cmd
}
