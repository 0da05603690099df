package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

func checkCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "check [flags] [NAME...]",
		Short: "Fetch artifacts again, from all their addresses, and compare",
		Example: `  pin check
  pin check busybox`,
		RunE: func(cmd *cobra.Command, args []string) error { return t.check(cmd.Context(), args) },
	}
}

// check fetches all artifacts of some names, or all. It goes on after an error.
func (t *tool) check(ctx context.Context, names []string) error {
	file, err := readLock(t.lockPath)
	if err != nil {
		return err
	}
	artifacts := file.lock.Artifacts
	for _, name := range names {
		if !slices.ContainsFunc(artifacts, func(a lock.Artifact) bool { return a.Name == name }) {
			_, err := file.find(name, "")
			return err
		}
	}
	var problems []error
	for index := range artifacts {
		artifact := &artifacts[index]
		switch {
		case len(names) > 0 && !slices.Contains(names, artifact.Name):
			continue
		case artifact.Pinned():
			err = t.checkArtifact(ctx, artifact)
		case len(names) > 0:
			err = fmt.Errorf("check %s %s: it is not pinned; update pins it", artifact.Name, artifact.Arch)
		default:
			fmt.Fprintf(t.stderr, "pin: warning: %s %s is not pinned\n", artifact.Name, artifact.Arch)
			continue
		}
		if err == nil {
			_, err = fmt.Fprintf(t.stdout, "%s %s: same\n", artifact.Name, artifact.Arch)
		}
		problems = append(problems, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

func (t *tool) checkArtifact(ctx context.Context, artifact *lock.Artifact) error {
	requests, err := t.requests(ctx, artifact)
	if err != nil {
		return fmt.Errorf("check %s %s: %w", artifact.Name, artifact.Arch, err)
	}
	var problems []error
	for _, request := range requests {
		problems = append(problems, t.checkAddress(ctx, artifact, request))
	}
	return errors.Join(problems...)
}

func (t *tool) checkAddress(ctx context.Context, artifact *lock.Artifact, request fetch.Request) (err error) {
	download, err := newDownload("", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, download.discard()) }()
	got, err := t.client.Fetch(ctx, request, download.File)
	if err != nil {
		return fmt.Errorf("check %s %s: %w", artifact.Name, artifact.Arch, err)
	}
	if err := compare(got, artifact); err != nil {
		return fmt.Errorf("check %s %s: %s: %w", artifact.Name, artifact.Arch, fetch.Display(request.URL), err)
	}
	return nil
}
