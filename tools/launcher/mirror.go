package main

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// offline is a folder that tools/mirror has made. Where there is one, all that
// the closed world consists of comes from it, and nothing asks a network.
type offline struct {
	dir      string
	digest   string // of the manifest
	manifest *mirror.Manifest
}

// openMirror reads the manifest and looks whether all is there.
func openMirror(dir string) (*offline, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("KINDLING_MIRROR is %q, want an absolute path", dir)
	}
	manifest, digest, err := mirror.Read(dir)
	if err == nil {
		err = manifest.Look(dir)
	}
	m := &offline{dir: filepath.Clean(dir), digest: digest, manifest: manifest}
	if err != nil {
		return nil, m.broken(err)
	}
	return m, nil
}

// broken says what to do about a mirror that is not as it was made.
func (m *offline) broken(err error) error {
	return fmt.Errorf("use mirror %s: %w\n"+
		"To mend it, copy that from where the mirror was made, or make it again there:\n"+
		"    tools/bazel run //tools/mirror -- DIR", m.dir, err)
}

// env has go take modules from the mirror alone. There is no checksum database
// to ask: go.sum and the mirror's manifest have the digests.
func (m *offline) env() []string {
	proxy := url.URL{Scheme: "file", Path: filepath.Join(m.dir, mirror.GoProxy)}
	return []string{"GOPROXY=" + proxy.String(), "GOSUMDB=off", "GONOPROXY=none"}
}

// distdirs are the folders where Bazel looks for files before it downloads them.
func (m *offline) distdirs() []string {
	var dirs []string
	for _, file := range m.manifest.Below(mirror.Distdir) {
		dirs = append(dirs, filepath.Join(m.dir, path.Dir(file.Path)))
	}
	return slices.Compact(dirs)
}

// root is the archive of the Debian root of that name.
func (m *offline) root(name string) (mirror.File, error) {
	file, ok := m.manifest.Lookup(mirror.RootArchive(name))
	if !ok {
		return mirror.File{}, m.broken(fmt.Errorf("it has no %s, which is the root of this checkout", mirror.RootArchive(name)))
	}
	return file, nil
}

// unpackRoot fills a folder from an archive of the mirror. What comes out is only
// right if the archive turns out to be, at its end.
func (l *launcher) unpackRoot(ctx context.Context, root string, file mirror.File, lock, log *os.File) (err error) {
	archive, err := os.Open(filepath.Join(l.mirror.dir, file.Path))
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	sum := sha256.New()
	content := io.TeeReader(archive, sum)
	unpacked := unpack(ctx, root, content, lock, log)
	if ctx.Err() != nil {
		return unpacked
	}
	// Damage is better told by the digest than by what tar makes of it.
	if _, err := io.Copy(io.Discard, content); err != nil {
		return errors.Join(unpacked, fmt.Errorf("read archive: %w", err))
	}
	if err := mirror.Compare(file, sum.Sum(nil)); err != nil {
		return l.mirror.broken(err)
	}
	return unpacked
}

func unpack(ctx context.Context, root string, content io.Reader, lock, log *os.File) error {
	plain, err := gzip.NewReader(content)
	if err != nil {
		return fmt.Errorf("read archive: %w", err)
	}
	cmd := extract(ctx, root, lock, log)
	cmd.Stdin = plain
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	return nil
}

// checkBubblewrap looks for what enters the root, which no mirror can bring.
func checkBubblewrap() error {
	if _, err := exec.LookPath("bwrap"); err != nil {
		return fmt.Errorf("find bubblewrap, which must be installed beside a mirror (Debian's package has that name): %w", err)
	}
	return nil
}
