package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/guest/contract"
)

// writeTar writes a tar of empty files, and compresses it as its name says.
func writeTar(t *testing.T, name string, entries ...string) string {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser
	switch filepath.Ext(name) {
	case ".gz":
		out = gzip.NewWriter(&b)
	case ".zst":
		var err error
		if out, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	default:
		out = nopCloser{&b}
	}
	w := tar.NewWriter(out)
	for _, entry := range entries {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: entry, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestLoadRootFileSystem(t *testing.T) {
	names := []string{"./etc/passwd", "index.js", "etc/manifest.json"}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, path := range []string{
		writeTar(t, "root.tar", names...), writeTar(t, "root.tar.gz", names...), writeTar(t, "root.tar.zst", names...), folder,
	} {
		image, err := Load(t.Context(), path, amd64, Options{})
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.GuestConfig()
		if err != nil || len(config.Entrypoint)+len(config.Cmd) > 0 || config.InitMode != contract.ModeExec {
			t.Errorf("%s: got configuration %+v, error %v, want no command", path, config, err)
		}
		if (image.Folder() != "") != (path == folder) {
			t.Errorf("%s: is folder %q", path, image.Folder())
		}
		if path != folder {
			ids[image.DiskID()] = true
		} else if image.DiskID() != "" {
			t.Errorf("folder has disk ID %s, want none", image.DiskID())
		}
		if _, err := image.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "disk"), nil); err != nil {
			t.Error(err)
		}
	}
	if len(ids) != 1 {
		t.Errorf("one tar, compressed in several ways, has disk IDs %v, want one", ids)
	}
	t.Run("name that could be a reference", func(t *testing.T) {
		t.Chdir(filepath.Dir(folder))
		name := filepath.Base(folder)
		checkLoadError(t, name, amd64, "as a root file system it is ./"+name)
	})
}

// TestLoadNoRootFileSystem is about what is an image, or nothing at all.
func TestLoadNoRootFileSystem(t *testing.T) {
	folder := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	junk := filepath.Join(folder("junk"), "junk")
	archive := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("example.test/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(archive, tag, newImage(t, amd64)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, archive, func([]byte) []byte { return compressed.Bytes() })
	cut := writeTar(t, "root.tar.gz", "a", "b")
	replaceFile(t, cut, func(data []byte) []byte { return data[:len(data)-20] })
	tests := []struct{ name, path, want string }{
		{"compressed image", archive, "it is compressed with gzip; decompress it first"},
		{"folder with index.json only", folder("index.json"), "read oci-layout"},
		{"folder of docker save", folder("manifest.json"), "read oci-layout"},
		{"folder with nothing", folder(), "folder is empty"},
		{"tar with oci-layout", writeTar(t, "x.tar", "etc/passwd", "./oci-layout"), "oci-layout"},
		{"tar of an old docker save", writeTar(t, "x.tar", "repositories"), "neither oci-layout nor manifest.json"},
		{"tar without entries", writeTar(t, "x.tar"), "tar has no entries"},
		{"no tar", junk, "read tar, with gzip, zstd or no compression"},
		{"cut off", cut, "unexpected EOF"},
		{"device", "/dev/null", "it is neither a folder nor a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { checkLoadError(t, test.path, amd64, test.want) })
	}
}

func TestOpenTarCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenTar(ctx, writeTar(t, "root.tar", "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

// TestRootFileSystemChanges is about a tar that is another one when its disk is
// written.
func TestRootFileSystemChanges(t *testing.T) {
	path := writeTar(t, "root.tar", "a")
	image, err := OpenTar(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, path, func(data []byte) []byte { return bytes.Replace(data, []byte("a"), []byte("b"), 1) })
	_, err = image.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "disk"), nil)
	if err == nil || !strings.Contains(err.Error(), "verify blob: got digest") {
		t.Errorf("got error %v, want one about the digest", err)
	}
}

func TestWriteDiskProgress(t *testing.T) {
	image, err := imageOf(newImage(t, amd64))
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]Progress{}
	if _, err := image.WriteDisk(t.Context(), filepath.Join(t.TempDir(), "disk"), func(p Progress) { last[p.Step] = p }); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"layers", "root disk"} {
		if p := last[step]; p.Done != p.Total || p.Total == 0 {
			t.Errorf("%s ends with %+v, want all done", step, p)
		}
	}
}
