package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// suite is the first Debian release whose Bazel knows modules.
const suite = "forky"

// packages are Bazel and the tools that tests and `kindling run` use in a
// machine's stead. A change makes a new root.
var packages = []string{
	"bazel-bootstrap",
	"bazel-rules-shell",
	"ca-certificates",
	"e2fsprogs",
	"git",
	"qemu-system-x86",
	"vhost-device-vsock",
}

// ensureRoot makes the Debian root unless it is there, and gives its path. The
// root is made beside its place and renamed into it, so it is whole or absent.
func (l *launcher) ensureRoot(ctx context.Context, dir, mirror string) (string, error) {
	root := filepath.Join(dir, "root-"+digest(append(packages, suite)...))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := l.ensureTools(ctx); err != nil {
		return "", err
	}
	logName := filepath.Join(dir, "root.log")
	log, err := os.Create(logName)
	if err != nil {
		return "", fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	partial := root + ".partial"
	// The lock is ours, so what is there was left by a launcher that was killed.
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", fmt.Errorf("make root: %w", err)
	}
	fmt.Fprintf(l.stderr, "tools/bazel: no registry of Bazel modules answers here; making a Debian %s root with Bazel in %s (about a minute, once)\n", suite, root)
	if err := l.debootstrap(ctx, partial, mirror, log); err != nil {
		return "", errors.Join(fmt.Errorf("make Debian root: %w; see %s", err, logName), os.RemoveAll(partial))
	}
	if err := os.Rename(partial, root); err != nil {
		return "", fmt.Errorf("finish root: %w", err)
	}
	fmt.Fprintf(l.stderr, "tools/bazel: the root is ready\n")
	return root, nil
}

// debootstrap fills a folder. The root travels as a tar stream, since then all
// files belong to the user, mmdebstrap mounts nothing below the cache, and a
// half-made root can be removed like any folder.
func (l *launcher) debootstrap(ctx context.Context, root, mirror string, log io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	// Mirrors can be frozen in time; the signature still counts.
	make := exec.CommandContext(ctx, "mmdebstrap", "--variant=essential", "--format=tar",
		`--aptopt=Acquire::Check-Valid-Until "false"`, `--aptopt=Acquire::Retries "3"`,
		"--include="+strings.Join(packages, ","), suite, "-", mirror)
	make.Stdout = writer
	make.Stderr = &progress{log: log, out: l.stderr}
	extract := exec.CommandContext(ctx, "tar", "-x", "-C", root, "--no-same-owner",
		// Devices need rights; Bazel warns of an rc file that it is told not to read.
		"--exclude=./dev/*", "--exclude=./etc/bazel/bazelrc")
	extract.Stdin = reader
	extract.Stderr = log
	for _, cmd := range []*exec.Cmd{make, extract} {
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	err = make.Start()
	if err == nil {
		err = extract.Start()
	}
	if err := errors.Join(err, writer.Close(), reader.Close()); err != nil {
		cancel()
		return errors.Join(err, wait(make), wait(extract))
	}
	extracted := wait(extract)
	if extracted != nil {
		cancel()
	}
	return errors.Join(wait(make), extracted)
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
	log, out io.Writer
	line     bytes.Buffer
}

func (p *progress) Write(data []byte) (int, error) {
	p.line.Write(data)
	for {
		line, err := p.line.ReadString('\n')
		if err != nil {
			p.line.WriteString(line)
			break
		}
		if strings.HasPrefix(line, "I: ") || strings.HasPrefix(line, "E: ") {
			fmt.Fprintf(p.out, "tools/bazel: %s", line[len("I: "):])
		}
	}
	return p.log.Write(data)
}

// ensureTools installs what makes and enters the root.
func (l *launcher) ensureTools(ctx context.Context) error {
	tools := map[string]string{"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}
	if os.Getuid() != 0 {
		tools["newuidmap"] = "uidmap" // how mmdebstrap becomes root of its own namespace
	}
	var missing []string
	for command, pkg := range tools {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	install := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, missing...)
	if os.Getuid() != 0 {
		return fmt.Errorf("missing %s; run: sudo %s", strings.Join(missing, ", "), strings.Join(install, " "))
	}
	fmt.Fprintf(l.stderr, "tools/bazel: installing %s\n", strings.Join(missing, ", "))
	for _, args := range [][]string{{"apt-get", "update"}, install} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, tail(out, 20))
		}
	}
	return nil
}

// tail is the last lines of a text.
func tail(text []byte, lines int) string {
	var all []string
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		all = append(all, scanner.Text())
	}
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
