package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
)

// editSuite builds the initrd after an edit of init, in a clone of the workspace
// that bench was called in, beside go build of init alone.
func editSuite(ctx context.Context, b *bench) ([]figure, error) {
	workspace := os.Getenv("BUILD_WORKSPACE_DIRECTORY") // Bazel's, which starts programs elsewhere
	if workspace == "" {
		workspace = "."
	}
	clone := b.path("clone")
	if _, err := b.execute(ctx, nil, []string{"git", "clone", "--quiet", workspace, clone}); err != nil {
		return nil, fmt.Errorf("clone workspace: %w", err)
	}
	source, err := readEditable(filepath.Join(clone, "guest/init/main.go"))
	if err != nil {
		return nil, err
	}
	// Bazel keeps a server and a folder of outputs for each workspace.
	b.atEnd(func(ctx context.Context) error {
		_, err := b.execute(ctx, nil, inClone(clone, "tools/bazel clean --expunge"))
		return err
	})
	fmt.Fprintln(b.stderr, "bench: building a clone of the workspace (some minutes)")
	bazel := inClone(clone, "tools/bazel build //system:initrd_x86_64")
	if _, err := b.execute(ctx, nil, bazel); err != nil {
		return nil, fmt.Errorf("build clone: %w", err)
	}
	return []figure{editFigure(source, bazel, clone, b.path("init"))}, nil
}

// inClone is a command of the shell that runs in a folder.
func inClone(clone, script string, args ...string) []string {
	return shell(`cd "$1"; shift; exec `+script, append([]string{clone}, args...)...)
}

// editFigure gives each contender an edit of its own: none finds in a cache what
// another one made.
func editFigure(source *editable, bazel []string, clone, output string) figure {
	const (
		ours, again = "bazel, initrd", "bazel, nothing changed"
		theirs      = "go build, init"
	)
	return figure{name: "build after an edit of init", reference: theirs, contenders: []contender{
		{name: ours, prepare: source.edit, commands: [][]string{bazel}},
		{name: again, again: true, commands: [][]string{bazel}},
		{name: theirs, prepare: source.edit, output: output, env: []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"},
			commands: [][]string{inClone(clone, `go build -trimpath -ldflags "-s -w -buildid=" -o "$1" ./guest/init`, output)}},
	}, levels: []level{
		{contender: ours, against: theirs, quantity: duration, atMost: 2},
		{contender: again, quantity: duration, atMost: 1.5},
	}}
}

// editable is a Go file with a text that can change.
type editable struct {
	name          string
	before, after []byte // its content around what is put in
}

// editedText is what init prints where it is not in a guest.
const editedText = "not started as PID 1 of a guest"

func readEditable(name string) (*editable, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read file to edit: %w", err)
	}
	if count := bytes.Count(data, []byte(editedText)); count != 1 {
		return nil, fmt.Errorf("edit %s: it has %q %d times, want once", name, editedText, count)
	}
	end := bytes.Index(data, []byte(editedText)) + len(editedText)
	return &editable{name: name, before: data[:end], after: data[end:]}, nil
}

// edit changes a line to one that no build has seen, in this run or another.
func (e *editable) edit() error {
	content := fmt.Appendf(nil, "%s (%s)%s", e.before, rand.Text(), e.after)
	if err := os.WriteFile(e.name, content, 0o644); err != nil {
		return fmt.Errorf("edit file: %w", err)
	}
	return nil
}
