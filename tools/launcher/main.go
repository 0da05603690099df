// Launcher prints the shell command that starts the Bazel this machine can
// have: one on PATH where the internet answers, else one from Debian in a
// private root where only package registries do.
//
// It only finds and prepares Bazel. It uses nothing outside the standard
// library, so that the first run on a bare machine fetches nothing for it.
package main

import (
	"context"
	"errors"
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
		return errors.New("usage: launcher WORKSPACE WORKDIR")
	}
	var from *offline
	if dir := os.Getenv("KINDLING_MIRROR"); dir != "" {
		opened, err := openMirror(dir)
		if err != nil {
			return err
		}
		from = opened
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	// Links are followed here, since a link at the top of the host is a plain
	// folder inside the root.
	workdir, err := filepath.EvalSymlinks(args[1])
	if err != nil {
		return fmt.Errorf("find current folder: %w", err)
	}
	l := &launcher{workspace: args[0], workdir: workdir, cache: cache, host: "/", uid: os.Getuid(), mirror: from, stderr: stderr}
	start, err := l.command(ctx, os.Getenv("KINDLING_BAZEL"))
	if ctx.Err() != nil {
		// What children say of being ended is not the reason.
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, start.shell())
	return err
}

type launcher struct {
	workspace string // root of the repository
	workdir   string // where the user stands
	cache     string // ours to fill, safe to delete
	host      string // root of the host's file system
	uid       int
	mirror    *offline // nil without
	stderr    io.Writer
}

// say tells the user what takes its time.
func (l *launcher) say(format string, args ...any) {
	fmt.Fprintf(l.stderr, "tools/bazel: "+format+"\n", args...)
}

// command is the start of Bazel's command line; the user's arguments follow.
// world is "open", "closed", or empty to find out.
func (l *launcher) command(ctx context.Context, world string) (command, error) {
	if l.mirror != nil && world == "" {
		return l.closed(ctx, errors.New("KINDLING_MIRROR="+l.mirror.dir))
	}
	switch world {
	case "", "open":
		if l.mirror != nil {
			return command{}, errors.New("KINDLING_MIRROR does not go with KINDLING_BAZEL=open")
		}
		bazel, err := l.findOpen(ctx, world == "open")
		switch {
		case err == nil:
			return command{args: []string{bazel}}, nil
		case ctx.Err() != nil:
			return command{}, err
		case world == "open":
			return command{}, fmt.Errorf("find bazel for KINDLING_BAZEL=open: %w", err)
		}
		return l.closed(ctx, err)
	case "closed":
		return l.closed(ctx, errors.New("KINDLING_BAZEL=closed"))
	default:
		return command{}, fmt.Errorf("KINDLING_BAZEL is %q, want open or closed", world)
	}
}

// command is a program with the arguments it begins with and the variables it
// has beside the user's.
type command struct {
	env  []variable
	args []string
}

type variable struct{ name, value string }

// shell is the command in the words of a POSIX shell, ready for more arguments.
// Variables stay out of the arguments, which all of a machine's users can see.
func (c command) shell() string {
	var words []string
	for _, v := range c.env {
		words = append(words, v.name+"="+shellQuote(v.value))
	}
	words = append(words, "exec")
	for _, arg := range c.args {
		words = append(words, shellQuote(arg))
	}
	return strings.Join(words, " ")
}

func shellQuote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// cacheDir makes the folder where prepared files live and gives its path.
// Bazel's sandbox gives every action an empty /tmp, so what lies there does not
// exist for a build.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	dir := filepath.Join(base, "kindling")
	if !within(dir, "/tmp") {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make cache folder: %w", err)
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", fmt.Errorf("find cache folder: %w", err)
		}
	}
	if within(dir, "/tmp") {
		return "", fmt.Errorf("cache folder %s is under /tmp, which Bazel's sandbox hides; set XDG_CACHE_HOME to another place", dir)
	}
	return dir, nil
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
