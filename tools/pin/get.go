package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/pin/internal/debian"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
	"github.com/kindling-vm/kindling/tools/pin/internal/github"
)

// maxArtifact bounds an artifact, in bytes.
const maxArtifact = 2 << 30

// requests are the addresses that an artifact can be had from.
func (t *tool) requests(ctx context.Context, artifact *lock.Artifact) ([]fetch.Request, error) {
	if artifact.Path != "" {
		mirror, err := debian.Mirror(ctx)
		if err != nil {
			return nil, err
		}
		// The lock's digest tells whether somebody changed it on the way.
		return []fetch.Request{{URL: mirror + "/" + artifact.Path, AnyHTTP: true, MaxSize: maxArtifact}}, nil
	}
	var requests []fetch.Request
	for _, url := range artifact.URLs {
		requests = append(requests, fetch.Request{URL: url, MaxSize: maxArtifact})
	}
	return requests, nil
}

// getAny fetches a file from the first address that has it.
func (t *tool) getAny(ctx context.Context, requests []fetch.Request, file *os.File) (fetch.Result, error) {
	var failures []error
	for _, request := range requests {
		result, err := t.client.Fetch(ctx, request, file)
		if err == nil {
			for _, failure := range failures {
				fmt.Fprintf(t.stderr, "pin: warning: %v; took %s\n", failure, fetch.Display(request.URL))
			}
			return result, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fetch.Result{}, errors.Join(failures...)
}

// compare gives the error of a file that is not the one that is pinned.
func compare(got fetch.Result, artifact *lock.Artifact) error {
	switch {
	case artifact.Size == 0 && got.SHA256 != artifact.SHA256: // which may be all that the lock has
		return fmt.Errorf("got SHA-256 %s (%d bytes), want %s", got.SHA256, got.Size, artifact.SHA256)
	case artifact.Size != 0 && got != (fetch.Result{SHA256: artifact.SHA256, Size: artifact.Size}):
		return fmt.Errorf("got SHA-256 %s (%d bytes), want %s (%d bytes)", got.SHA256, got.Size, artifact.SHA256, artifact.Size)
	}
	return nil
}

// examine refuses what was fetched for an entry if it cannot be that. It gives
// lines about it. Packages have a digest before; known says where from.
func (t *tool) examine(
	ctx context.Context, artifact *lock.Artifact, known string, got fetch.Result, content io.ReaderAt,
) (string, error) {
	what, err := inspect(content, got.Size, artifact)
	if err != nil {
		return "", fmt.Errorf("inspect what was fetched: %w", err)
	}
	origin := known
	if artifact.Package != "" {
		err = compare(got, artifact)
	} else {
		origin, err = t.vouch(ctx, artifact, got)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("  %s\n  SHA-256 %s (%d bytes)\n  %s\n", what, got.SHA256, got.Size, origin), nil
}

// vouch asks GitHub for the digest of an artifact that it holds, and says where
// the pinned one comes from. A digest that differs is an error.
func (t *tool) vouch(ctx context.Context, artifact *lock.Artifact, got fetch.Result) (string, error) {
	trusted := "digest of what was downloaded, trust on first use"
	if got.SHA256 == artifact.SHA256 {
		trusted = "digest of the lock"
	}
	for _, url := range artifact.URLs {
		asset, ok := github.ParseAsset(url, t.githubAPI)
		if !ok {
			continue
		}
		digest, err := github.Digest(ctx, t.client, t.githubAPI, asset)
		switch {
		case ctx.Err() != nil:
			return "", err
		case err != nil:
			return fmt.Sprintf("%s: the API could not be asked: %v", trusted, err), nil
		case digest == "":
			return trusted + ": the API has none of this asset", nil
		case digest != got.SHA256:
			return "", fmt.Errorf("got SHA-256 %s, the API says %s", got.SHA256, digest)
		}
		return "digest from the API", nil
	}
	return trusted, nil
}

// download is a file that becomes one of a folder, or goes away.
type download struct {
	*os.File
	pending *renameio.PendingFile // nil: it only goes away
}

// newDownload makes a file. A folder that is not "" gets it by that name.
func newDownload(folder, name string) (*download, error) {
	if folder == "" {
		file, err := os.CreateTemp("", "pin-")
		if err != nil {
			return nil, fmt.Errorf("make temporary file: %w", err)
		}
		return &download{file, nil}, nil
	}
	pending, err := renameio.NewPendingFile(filepath.Join(folder, name), renameio.WithTempDir(folder), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return nil, fmt.Errorf("save %s: %w", name, err)
	}
	return &download{pending.File, pending}, nil
}

// keep puts the file where it belongs. One with the same bytes may be there.
func (d *download) keep(path string, want fetch.Result) (err error) {
	if d.pending == nil {
		return nil
	}
	there, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.pending.CloseAtomicallyReplace(); err != nil {
			return fmt.Errorf("save %s: %w", path, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at saved file: %w", err)
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	digest := sha256.New()
	if _, err := io.Copy(digest, there); err != nil {
		return fmt.Errorf("look at saved file: %w", err)
	}
	if hex.EncodeToString(digest.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("save %s: it is there already, with other bytes", path)
	}
	return nil
}

// discard removes the file, unless it was kept.
func (d *download) discard() error {
	if d.pending != nil {
		return d.pending.Cleanup()
	}
	return errors.Join(d.Close(), os.Remove(d.Name()))
}
