// Tidy brings everything in the workspace that a program can write into the
// form that the build and the tests expect: go.mod, Go and Bazel files' format,
// rules for Go packages, and committed files that the build makes.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/renameio/v2"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("BUILD_WORKSPACE_DIRECTORY"), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "tidy: %v\n", err)
		os.Exit(1)
	}
}

// run takes the gazelle program and then pairs FILE=GENERATED of committed files
// and their runfiles.
func run(args []string, workspace string, stdout, stderr io.Writer) error {
	if workspace == "" {
		return fmt.Errorf("no workspace: run it as bazel run //:tidy")
	}
	if len(args) == 0 {
		return fmt.Errorf("no gazelle program given")
	}
	gazelle, err := runfiles.Rlocation(args[0])
	if err != nil {
		return fmt.Errorf("find gazelle: %w", err)
	}
	env, err := runfiles.Env()
	if err != nil {
		return fmt.Errorf("find gazelle's files: %w", err)
	}
	for _, pair := range args[1:] {
		if err := copyGenerated(workspace, pair); err != nil {
			return err
		}
	}
	for _, command := range [][]string{
		{"go", "mod", "tidy"},
		{"go", "fmt", "./..."},
		{gazelle},
		{"go", "tool", "buildifier", "-lint=fix", "-warnings=all", "-r", "."},
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = workspace
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdout = stdout
		cmd.Stderr = stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run %s: %w", strings.Join(command, " "), err)
		}
	}
	return nil
}

func copyGenerated(workspace, pair string) error {
	committed, generated, found := strings.Cut(pair, "=")
	if !found || !filepath.IsLocal(committed) {
		return fmt.Errorf("committed file %q: want FILE=GENERATED", pair)
	}
	source, err := runfiles.Rlocation(generated)
	if err != nil {
		return fmt.Errorf("find what %s is made from: %w", committed, err)
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("read what %s is made from: %w", committed, err)
	}
	target := filepath.Join(workspace, committed)
	if err := renameio.WriteFile(target, data, 0o644, renameio.WithTempDir(filepath.Dir(target))); err != nil {
		return fmt.Errorf("write %s: %w", committed, err)
	}
	return nil
}
