package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Mirror is the Debian mirror that this machine uses, as a URL without a slash
// at its end: that of the environment's DEBIAN_MIRROR, or apt's. Bazel asks the
// same: system/debian_package.bzl.
func Mirror(ctx context.Context) (string, error) {
	if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
		return strings.TrimRight(mirror, "/"), nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Identifier: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its Debian mirror (DEBIAN_MIRROR=URL names one instead): %w", err)
	}
	if mirror := parseIndexTargets(string(out)); mirror != "" {
		return mirror, nil
	}
	return "", errors.New("apt knows no Debian mirror: run 'apt-get update' as root, or set DEBIAN_MIRROR=URL")
}

// parseIndexTargets finds the first archive of Debian itself that can be had by
// HTTP, or "". The security archive has another label.
func parseIndexTargets(out string) string {
	for line := range strings.Lines(out) {
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian\tDebian\t")
		if ok && (strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")) {
			return strings.TrimRight(url, "/")
		}
	}
	return ""
}
