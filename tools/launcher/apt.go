package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// debianMirror is the Debian mirror that this machine's apt uses, as a URL
// without a slash at the end.
func (l *launcher) debianMirror(ctx context.Context) (string, error) {
	if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
		return strings.TrimSuffix(mirror, "/"), nil
	}
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
		// Where apt is not set up to keep its index, as in containers, it would
		// take most of a second to read the lists each time. It knows when what
		// it kept is out of date.
		"-o", "Dir::Cache::pkgcache="+filepath.Join(l.cache, "pkgcache.bin"), "-o", "Dir::Cache::srcpkgcache=",
		"--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Identifier: Packages"))
	if err != nil {
		return "", fmt.Errorf("ask apt for its Debian mirror (DEBIAN_MIRROR=URL names one instead): %w", err)
	}
	mirror, ok := parseIndexTargets(out)
	if !ok {
		return "", errNoMirror
	}
	return mirror, nil
}

var errNoMirror = errors.New("apt knows no Debian mirror: run 'apt-get update' as root, or set DEBIAN_MIRROR=URL")

// parseIndexTargets finds the first archive of Debian itself: its security
// archive has another label, and other vendors have another origin. Bazel, too,
// must be able to fetch from it.
func parseIndexTargets(out string) (string, bool) {
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) == 3 && fields[0] == "Debian" && fields[1] == "Debian" &&
			(strings.HasPrefix(fields[2], "http://") || strings.HasPrefix(fields[2], "https://")) {
			return strings.TrimSuffix(fields[2], "/"), true
		}
	}
	return "", false
}

// credentials are what a mirror's URL has before its host, which nobody is to
// read on a screen or in a log.
func credentials(mirror string) string {
	_, rest, _ := strings.Cut(mirror, "://")
	authority, _, _ := strings.Cut(rest, "/")
	return authority[:strings.LastIndex(authority, "@")+1]
}

// ensureTools installs what makes and enters the root.
func (l *launcher) ensureTools(ctx context.Context, log io.Writer) error {
	tools := []struct{ command, pkg string }{{"bwrap", "bubblewrap"}, {"mmdebstrap", "mmdebstrap"}}
	if l.uid != 0 {
		// How mmdebstrap becomes root of its own namespace.
		tools = append(tools, struct{ command, pkg string }{"newuidmap", "uidmap"})
	}
	var missing []string
	for _, tool := range tools {
		if _, err := exec.LookPath(tool.command); err != nil {
			missing = append(missing, tool.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	install := slices.Concat([]string{"install", "-y", "--no-install-recommends"}, missing)
	if l.uid != 0 {
		return fmt.Errorf("missing %s; run: sudo apt-get %s", strings.Join(missing, ", "), strings.Join(install, " "))
	}
	l.say("installing %s", strings.Join(missing, ", "))
	// One repository among many that does not answer fails an update that has
	// served its purpose.
	if err := aptGet(ctx, log, "update"); err != nil {
		fmt.Fprintf(log, "apt-get update: %v\n", err)
	}
	if err := aptGet(ctx, log, install...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(missing, ", "), err)
	}
	return nil
}

func aptGet(ctx context.Context, log io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
	// Apt leaves packages in order when it alone is asked to end, and it is not
	// killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}
