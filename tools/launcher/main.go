// Launcher prints the command line, quoted for a POSIX shell, that starts the
// Bazel this machine can have: one on PATH where the internet answers, else one
// from Debian in a private root where only package registries do.
//
// It only finds and prepares Bazel. It uses nothing outside the standard
// library, so that the first run on a bare machine fetches nothing for it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "tools/bazel: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: launcher WORKSPACE WORKDIR")
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	l := &launcher{workspace: args[0], workdir: args[1], cache: cache, stderr: stderr}
	command, err := l.command(ctx, os.Getenv("KINDLING_BAZEL"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, shellQuote(command))
	return err
}

type launcher struct {
	workspace string // root of the repository
	workdir   string // where the user stands
	cache     string // ours to fill, safe to delete
	stderr    io.Writer
}

// command is the start of Bazel's command line; the user's arguments follow.
// world is "open", "closed", or empty to find out.
func (l *launcher) command(ctx context.Context, world string) ([]string, error) {
	switch world {
	case "", "open":
		bazel, err := l.findOpen(ctx)
		if err == nil {
			return []string{bazel}, nil
		}
		if world == "open" {
			return nil, fmt.Errorf("find bazel for KINDLING_BAZEL=open: %w", err)
		}
		return l.closed(ctx)
	case "closed":
		return l.closed(ctx)
	default:
		return nil, fmt.Errorf("KINDLING_BAZEL is %q, want open or closed", world)
	}
}

// cacheDir is where prepared files live. Bazel's sandbox gives every action an
// empty /tmp, so what lies there does not exist for a build.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	dir := filepath.Join(base, "kindling")
	if within(dir, "/tmp") {
		return "", fmt.Errorf("cache folder %s is under /tmp, which Bazel's sandbox hides; set XDG_CACHE_HOME to another place", dir)
	}
	return dir, nil
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func shellQuote(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
