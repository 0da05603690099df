package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suite is the first Debian release whose Bazel knows modules.
const suite = "forky"

// packages are Bazel and the tools that tests and `kindling run` use in a
// machine's stead. A change makes a new root.
var packages = []string{
	"bazel-bootstrap",
	"bazel-rules-shell",
	"bubblewrap",
	"ca-certificates",
	"e2fsprogs",
	"erofs-utils",
	"git",
	"nginx-core",
	"qemu-system-arm",
	"qemu-system-x86",
	"squashfs-tools",
	"vhost-device-vsock",
}

// ensureRoot makes the Debian root unless it is there, and gives its path.
func (l *launcher) ensureRoot(ctx context.Context, dir string, reason error) (string, error) {
	name := "root-" + digest(append(packages, suite)...)
	root := filepath.Join(dir, name)
	fill := l.fillRoot
	making := "making a Debian " + suite + " root with Bazel in %s (about a minute, once)"
	if l.mirror != nil {
		archive, err := l.mirror.root(name)
		if err != nil {
			return "", err
		}
		if err := checkBubblewrap(); err != nil {
			return "", err
		}
		// Another mirror's root has the same packages of another day.
		root += "-" + archive.SHA256[:12]
		fill = func(ctx context.Context, root string, lock, log *os.File) error {
			return l.unpackRoot(ctx, root, archive, lock, log)
		}
		making = "unpacking the mirror's root with Bazel to %s (less than a minute, once)"
	}
	return root, l.once(ctx, root, func(partial string, lock *os.File) error {
		logName := filepath.Join(dir, "root.log")
		log, err := os.OpenFile(logName, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("make log: %w", err)
		}
		defer log.Close()
		l.say("no Bazel of this machine's own: %s", strings.ReplaceAll(reason.Error(), "\n", "; "))
		l.say(making, root)
		if err := fill(ctx, partial, lock, log); err != nil {
			return fmt.Errorf("make Debian root: %w%s\nlog: %s", err, tail(logName, 8), logName)
		}
		l.say("the root is ready")
		return nil
	})
}

func (l *launcher) fillRoot(ctx context.Context, root string, lock, log *os.File) error {
	if err := l.ensureTools(ctx, log); err != nil {
		return err
	}
	mirror, err := l.debianMirror(ctx)
	if errors.Is(err, errNoMirror) && l.uid == 0 {
		// Images come without apt's lists.
		l.say("running apt-get update, since apt knows no mirror")
		if err := aptGet(ctx, log, "update"); err != nil {
			fmt.Fprintf(log, "apt-get update: %v\n", err)
		}
		mirror, err = l.debianMirror(ctx)
	}
	if err != nil {
		return err
	}
	return l.debootstrap(ctx, root, mirror, lock, log)
}

// debootstrap fills a folder. The root travels as a tar stream, since then all
// files belong to the user, mmdebstrap mounts nothing below the cache, and a
// half-made root can be removed like any folder.
func (l *launcher) debootstrap(ctx context.Context, root, mirror string, lock, log *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	// Mirrors can be frozen in time; the signature still counts.
	pack := gentle(exec.CommandContext(ctx, "mmdebstrap", "--variant=essential", "--format=tar",
		`--aptopt=Acquire::Check-Valid-Until "false"`, `--aptopt=Acquire::Retries "3"`,
		"--include="+strings.Join(packages, ","), suite, "-", mirror))
	pack.Stdout = writer
	pack.Stderr = &progress{log: log, say: l.say, secret: credentials(mirror)}
	unpack := extract(ctx, root, lock, log)
	unpack.Stdin = reader
	err = pack.Start()
	if err == nil {
		err = unpack.Start()
	}
	if err := errors.Join(err, writer.Close(), reader.Close()); err != nil {
		cancel()
		return errors.Join(err, wait(pack), wait(unpack))
	}
	extracted := wait(unpack)
	if extracted != nil {
		cancel()
	}
	packed := wait(pack)
	return errors.Join(packed, extracted)
}

// extract is the command that fills a folder from a tar stream.
func extract(ctx context.Context, root string, lock, log *os.File) *exec.Cmd {
	cmd := gentle(exec.CommandContext(ctx, "tar", "-x", "-C", root, "--no-same-owner",
		// Devices need rights, apt's sources can hold a password, Bazel warns of an
		// rc file that it is told not to read, and Java's modules are there a second
		// time, for making other runtimes: a fifth of the whole.
		"--exclude=./dev/*", "--exclude=./etc/apt/sources.list*", "--exclude=./etc/bazel/bazelrc",
		"--exclude=./usr/lib/jvm/*/jmods/*"))
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{lock}
	return cmd
}

func wait(cmd *exec.Cmd) error {
	if cmd.Process == nil {
		return nil
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	return nil
}

// progress logs all lines and shows those that mmdebstrap means for people.
type progress struct {
	log    io.Writer
	say    func(format string, args ...any)
	secret string // to leave out
	line   bytes.Buffer
}

func (p *progress) Write(data []byte) (int, error) {
	p.line.Write(data)
	for {
		line, err := p.line.ReadString('\n')
		if err != nil {
			p.line.WriteString(line)
			return len(data), nil
		}
		if p.secret != "" {
			line = strings.ReplaceAll(line, p.secret, "")
		}
		if message, ok := strings.CutPrefix(line, "I: "); ok {
			p.say("%s", strings.TrimSpace(message))
		}
		if _, err := io.WriteString(p.log, line); err != nil {
			return 0, fmt.Errorf("write log: %w", err)
		}
	}
}

// tail is the last lines of a log, set in below the error that they explain.
func tail(name string, lines int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return "" // there is an error to tell already
	}
	trimmed := strings.TrimSpace(string(data))
	if trimmed == "" {
		return ""
	}
	all := strings.Split(trimmed, "\n")
	var text strings.Builder
	for _, line := range all[max(0, len(all)-lines):] {
		text.WriteString("\n    " + line[:min(len(line), 200)])
	}
	return text.String()
}
