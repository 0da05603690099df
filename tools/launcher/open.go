package main

import (
	"bytes"
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
	versionTimeout = 3 * time.Minute
	// resolveTimeout allows a cold Bazel server to resolve the module graph.
	resolveTimeout = 5 * time.Minute
	// verdictAge is how long a Bazel is believed to be usable.
	verdictAge = 24 * time.Hour
	// problemAge is how long it is believed not to be: networks come back.
	problemAge = time.Hour
	// registryError is how Bazel says that no registry of modules answers.
	registryError = "Error accessing registry"
)

// verdict records whether a Bazel on PATH is of use.
type verdict struct {
	Size     int64 // of the file, which with its time tells another Bazel
	Modified time.Time
	Wanted   string // version
	Problem  string // empty for none
	Checked  time.Time
}

// findOpen finds a bazelisk or bazel on PATH that is of the version in
// .bazelversion and, unless it is forced, can reach its registry of modules.
func (l *launcher) findOpen(ctx context.Context, forced bool) (string, error) {
	want, err := l.wantedVersion()
	if err != nil {
		return "", err
	}
	var problems []error
	for _, name := range []string{"bazelisk", "bazel"} {
		bazel, err := exec.LookPath(name)
		if err == nil {
			if forced {
				err = l.checkVersion(ctx, bazel, want)
			} else {
				err = l.usable(ctx, bazel, want)
			}
		}
		if err == nil {
			return bazel, nil
		}
		problems = append(problems, err)
	}
	return "", errors.Join(problems...)
}

func (l *launcher) wantedVersion() (string, error) {
	data, err := os.ReadFile(filepath.Join(l.workspace, ".bazelversion"))
	if err != nil {
		return "", fmt.Errorf("read wanted version: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// usable is the verdict on one Bazel, asked of it where none is known.
func (l *launcher) usable(ctx context.Context, bazel, want string) error {
	info, err := os.Stat(bazel)
	if err != nil {
		return fmt.Errorf("look at bazel: %w", err)
	}
	file := filepath.Join(l.cache, "open.json")
	known := map[string]verdict{}
	if data, err := os.ReadFile(file); err == nil {
		if json.Unmarshal(data, &known) != nil {
			known = map[string]verdict{} // a damaged file is no answer
		}
	}
	v := known[bazel]
	limit := verdictAge
	if v.Problem != "" {
		limit = problemAge
	}
	age := time.Since(v.Checked)
	if v.Size != info.Size() || !v.Modified.Equal(info.ModTime()) || v.Wanted != want || age < 0 || age > limit {
		l.say("asking %s whether it can build here", bazel)
		sure := true
		err := l.checkVersion(ctx, bazel, want)
		if err == nil {
			sure, err = l.checkRegistry(ctx, bazel)
		}
		if !sure || ctx.Err() != nil {
			return err
		}
		v = verdict{Size: info.Size(), Modified: info.ModTime(), Wanted: want, Checked: time.Now()}
		if err != nil {
			v.Problem = err.Error()
		}
		known[bazel] = v
		data, err := json.Marshal(known)
		if err != nil {
			return err
		}
		if err := writeFile(file, data); err != nil {
			return err
		}
	}
	if v.Problem != "" {
		return fmt.Errorf("%s (asked %s; delete %s to ask again)", v.Problem, v.Checked.Format(time.DateTime), file)
	}
	return nil
}

func (l *launcher) checkVersion(ctx context.Context, bazel, want string) error {
	out, err := l.probe(ctx, versionTimeout, bazel, "--version")
	if err != nil {
		return fmt.Errorf("%s --version: %w", bazel, err)
	}
	if got := strings.TrimPrefix(strings.TrimSpace(out), "bazel "); got != want {
		return fmt.Errorf("%s is version %q, .bazelversion wants %q", bazel, got, want)
	}
	return nil
}

// checkRegistry has Bazel resolve the workspace's modules, and is not sure where
// it stumbled over something else: the user is to see that, from this Bazel.
func (l *launcher) checkRegistry(ctx context.Context, bazel string) (sure bool, err error) {
	// Bazel may be at work already, maybe for hours.
	_, err = l.probe(ctx, resolveTimeout, bazel, "--noblock_for_lock", "mod", "graph")
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), registryError) {
		return false, nil
	}
	// The server that the question started would stay for hours.
	if _, err := l.probe(ctx, time.Minute, bazel, "--noblock_for_lock", "shutdown"); err != nil && ctx.Err() == nil {
		l.say("%s shutdown: %v", bazel, err)
	}
	return true, fmt.Errorf("%s cannot reach its registry of modules", bazel)
}

// probe runs Bazel in the workspace, past tools/bazel, which is what called us.
func (l *launcher) probe(ctx context.Context, limit time.Duration, bazel string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := gentle(exec.CommandContext(ctx, bazel, args...))
	cmd.Dir = l.workspace
	// Should this bazel on PATH be some tools/bazel again, it ends there, at a
	// world that it does not know.
	cmd.Env = append(os.Environ(), "BAZELISK_SKIP_WRAPPER=true", "KINDLING_BAZEL=probe")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), err
}
