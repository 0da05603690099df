package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// versionTimeout allows bazelisk to download the Bazel it stands for.
	versionTimeout = 5 * time.Minute
	// resolveTimeout allows a cold Bazel server to resolve the module graph.
	resolveTimeout = 5 * time.Minute
	// verdictAge is how long the answer of resolving the modules is believed.
	verdictAge = 24 * time.Hour
)

// verdict records whether a Bazel on PATH could reach its module registry.
type verdict struct {
	Bazel     string
	Version   string
	Reachable bool
	Checked   time.Time
}

// findOpen finds a bazelisk or bazel on PATH that is of the version in
// .bazelversion and can resolve the workspace's modules.
func (l *launcher) findOpen(ctx context.Context) (string, error) {
	data, err := os.ReadFile(filepath.Join(l.workspace, ".bazelversion"))
	if err != nil {
		return "", fmt.Errorf("read wanted version: %w", err)
	}
	want := strings.TrimSpace(string(data))
	var problems []error
	for _, name := range []string{"bazelisk", "bazel"} {
		bazel, err := exec.LookPath(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if err := l.usable(ctx, bazel, want); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", bazel, err))
			continue
		}
		return bazel, nil
	}
	return "", errors.Join(problems...)
}

func (l *launcher) usable(ctx context.Context, bazel, want string) error {
	out, err := l.probe(ctx, versionTimeout, bazel, "--version")
	if err != nil {
		return fmt.Errorf("ask version: %w", err)
	}
	if got := strings.TrimPrefix(strings.TrimSpace(out), "bazel "); got != want {
		return fmt.Errorf("version is %q, .bazelversion wants %q", got, want)
	}
	file := filepath.Join(l.cache, "open.json")
	var known verdict
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, &known); err != nil {
			known = verdict{} // a damaged cache file is no answer
		}
	}
	if known.Bazel != bazel || known.Version != want || time.Since(known.Checked) > verdictAge {
		_, err := l.probe(ctx, resolveTimeout, bazel, "mod", "graph")
		known = verdict{Bazel: bazel, Version: want, Reachable: err == nil, Checked: time.Now()}
		data, err := json.Marshal(known)
		if err != nil {
			return err
		}
		if err := writeFile(file, data); err != nil {
			return err
		}
	}
	if !known.Reachable {
		return fmt.Errorf("it could not reach its module registry (asked %s; delete %s to ask again)", known.Checked.Format(time.DateTime), file)
	}
	return nil
}

// probe runs Bazel in the workspace, past tools/bazel, which is what called us.
func (l *launcher) probe(ctx context.Context, limit time.Duration, bazel string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bazel, args...)
	cmd.Dir = l.workspace
	cmd.Env = append(os.Environ(), "BAZELISK_SKIP_WRAPPER=true")
	out, err := cmd.Output()
	return string(out), err
}

// writeFile replaces a file as a whole.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(temp.Name(), name)
}
