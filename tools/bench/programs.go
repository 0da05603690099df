package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

// program gives a program of this repository: that of the build, or where bench
// was not started by Bazel, one that go build makes.
func (b *bench) program(ctx context.Context, folder string) (string, error) {
	name := filepath.Base(folder)
	if file, err := runfiles.Rlocation("_main/" + folder + "/" + name + "_/" + name); err == nil && exists(file) {
		return file, nil
	}
	file := b.path(name)
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", file, "./"+folder).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", folder, err, out)
	}
	return file, nil
}

// peer fetches a program of a Go module and builds it.
func (b *bench) peer(ctx context.Context, pkg, version string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "install", pkg+"@"+version)
	cmd.Env = append(os.Environ(), "GOBIN="+b.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch peer %s: %w\n%s", pkg, err, out)
	}
	return b.path(filepath.Base(pkg)), nil
}

// runfile gives a file of the build.
func runfile(name string) (string, error) {
	file, err := runfiles.Rlocation("_main/" + name)
	if err == nil && !exists(file) {
		err = os.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("find %s among the runfiles: %w", name, err)
	}
	return file, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// path is that of a file in the suite's folder.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// shell is a command of the shell, in which the names of args are $1, $2 and so
// on. The programs of file systems are not on every user's path. One of a pipe
// that fails, or is not there, fails the command: a peer that does nothing is fast.
func shell(script string, args ...string) []string {
	return append([]string{"bash", "-eo", "pipefail", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + script, "bash"}, args...)
}
