package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// closed prepares everything that the closed world needs and gives the command
// line that starts Bazel in it.
func (l *launcher) closed(ctx context.Context) ([]string, error) {
	dir := filepath.Join(l.cache, "closed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()

	mirror, err := debianMirror(ctx)
	if err != nil {
		return nil, err
	}
	root, err := l.ensureRoot(ctx, dir, mirror)
	if err != nil {
		return nil, err
	}
	sdk, err := l.goSDK(ctx)
	if err != nil {
		return nil, err
	}
	modules, err := l.ensureModules(ctx, dir, sdk)
	if err != nil {
		return nil, err
	}
	rc, err := l.writeRC(dir, modules, mirror)
	if err != nil {
		return nil, err
	}
	sandbox, err := l.bubblewrap(root, sdk)
	if err != nil {
		return nil, err
	}
	return append(sandbox,
		"/usr/bin/bazel",
		"--nosystem_rc",
		"--install_base=/usr/share/bazel",
		"--trust_install_base",
		// A running server lives in the root it was started in: another root
		// must mean another server, and start-up options are how Bazel tells.
		"--host_jvm_args=-Dkindling.root="+filepath.Base(root),
		"--bazelrc="+rc,
	), nil
}

// lock waits for the exclusive lock on a file. The kernel frees it with its
// holder, so a killed launcher leaves nothing locked.
func lock(ctx context.Context, name string) (unlock func() error, err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	acquired := make(chan error, 1)
	go func() { acquired <- syscall.Flock(int(file.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-acquired:
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		return file.Close, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for lock %s: %w", name, ctx.Err())
	}
}

// debianMirror is the Debian mirror that this machine's apt uses, as a URL
// without a slash at the end.
func debianMirror(ctx context.Context) (string, error) {
	if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
		return strings.TrimSuffix(mirror, "/"), nil
	}
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Identifier: Packages"))
	if err != nil {
		return "", fmt.Errorf("ask apt for its Debian mirror (DEBIAN_MIRROR=URL names one instead): %w", err)
	}
	mirror, ok := parseIndexTargets(out)
	if !ok {
		return "", fmt.Errorf("apt knows no Debian mirror: run 'apt-get update' as root, or set DEBIAN_MIRROR=URL")
	}
	return mirror, nil
}

// parseIndexTargets finds the first archive of Debian itself: its security
// archive has another label, and other vendors have another origin.
func parseIndexTargets(out string) (string, bool) {
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) == 3 && fields[0] == "Debian" && fields[1] == "Debian" {
			return strings.TrimSuffix(fields[2], "/"), true
		}
	}
	return "", false
}

var goDirective = regexp.MustCompile(`(?m)^go (\S+)$`)

// goSDK is the root of the Go SDK of exactly the version in go.mod, which is
// the version that the open world downloads. Go itself fetches it as a module
// where the machine has another.
func (l *launcher) goSDK(ctx context.Context) (string, error) {
	mod, err := os.ReadFile(filepath.Join(l.workspace, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read Go version: %w", err)
	}
	match := goDirective.FindSubmatch(mod)
	if match == nil {
		return "", fmt.Errorf("go.mod has no go line")
	}
	version := "go" + string(match[1])
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOROOT")
	cmd.Dir = l.workspace
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+version)
	out, err := output(cmd)
	if err != nil {
		return "", fmt.Errorf("find Go SDK %s: %w", version, err)
	}
	got, sdk, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if got != version {
		return "", fmt.Errorf("find Go SDK: got %s, go.mod wants %s", got, version)
	}
	return sdk, nil
}

// output is what a command prints; its error has what it said on stderr.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// digest names a prepared folder by all that went into it.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}
