package ext4

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/google/go-cmp/cmp"
)

// entry is a tar entry and its content.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

// writeEntries returns a producer for FromTar.
func writeEntries(entries ...entry) func(io.Writer) error {
	return func(w io.Writer) error {
		archive := tar.NewWriter(w)
		for _, e := range entries {
			e.Format, e.Size = tar.FormatPAX, int64(len(e.content))
			if err := archive.WriteHeader(&e.Header); err != nil {
				return err
			}
			if _, err := io.WriteString(archive, e.content); err != nil {
				return err
			}
		}
		return archive.Close()
	}
}

func TestFromTar(t *testing.T) {
	tests := []struct {
		name    string
		minSize int64
		want    int64
	}{
		{"no least size", 0, 23 * blockSize},
		{"least size", 10 << 20, 10 << 20},
		{"least size between blocks", 10<<20 + 1, 10<<20 + blockSize},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.ext4")
			if err := FromTar(path, 0o640, test.minSize, writeEntries(file("a", "content"))); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() != test.want || info.Mode() != 0o640 {
				t.Errorf("got size %d, mode %v, want %d, 0640", info.Size(), info.Mode(), test.want)
			}
			if got := info.Sys().(*syscall.Stat_t).Blocks * 512; got > 1<<20 {
				t.Errorf("image occupies %d bytes, want a sparse one", got)
			}
			super, err := tar2ext4.ReadExt4SuperBlock(path)
			if err != nil {
				t.Fatal(err)
			}
			const hasJournal, readOnly = 0x4, 0x1000
			if super.FeatureCompat&hasJournal != 0 || super.FeatureRoCompat&readOnly == 0 {
				t.Errorf("features %#x, %#x: want no journal, read-only", super.FeatureCompat, super.FeatureRoCompat)
			}
			if super.UUID != [16]byte{} {
				t.Errorf("got UUID %x, want zero", super.UUID)
			}
		})
	}
}

func TestFromTarIsDeterministic(t *testing.T) {
	producer := writeEntries(
		file("a", strings.Repeat("x", 10000)),
		entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, ModTime: time.Unix(1, 5), PAXRecords: map[string]string{
			"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": strings.Repeat("2", 200), "SCHILY.xattr.trusted.c": "3"}}},
	)
	var images [2][]byte
	for i := range images {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := FromTar(path, 0o600, 0, producer); err != nil {
			t.Fatal(err)
		}
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		images[i] = image
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two images of one stream differ")
	}
}

func TestFromTarErrors(t *testing.T) {
	producerErr := errors.New("producer broke")
	tests := []struct {
		name     string
		writeTar func(io.Writer) error
		want     string // of the error, behind the prefix
		is       error
	}{
		{
			name:     "producer fails at once",
			writeTar: func(io.Writer) error { return producerErr },
			want:     "write tar: producer broke",
			is:       producerErr,
		},
		{
			name: "producer fails within a file",
			writeTar: func(w io.Writer) error {
				archive := tar.NewWriter(w)
				err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 1 << 20})
				return errors.Join(err, producerErr)
			},
			want: "write tar: producer broke",
			is:   producerErr,
		},
		{
			name: "producer fails behind a valid trailer",
			writeTar: func(w io.Writer) error {
				return errors.Join(writeEntries(file("a", "x"))(w), producerErr)
			},
			want: "write tar: producer broke",
			is:   producerErr,
		},
		{
			name: "stream ends early",
			writeTar: func(w io.Writer) error {
				return tar.NewWriter(w).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 4})
			},
			want: "convert tar to ext4: unexpected EOF",
			is:   io.ErrUnexpectedEOF,
		},
		{
			name:     "converter refuses while the producer writes",
			writeTar: writeEntries(file("ok", "x"), file(strings.Repeat("n", 256), strings.Repeat("y", 1<<20))),
			want:     "convert tar to ext4: " + strings.Repeat("n", 256) + ": invalid name",
		},
		{
			name: "both fail for reasons of their own",
			writeTar: func(w io.Writer) error {
				// The pipe's error is thrown away here.
				writeEntries(file(strings.Repeat("n", 256), ""))(w)
				return producerErr
			},
			want: "write tar: producer broke\nconvert tar to ext4: " + strings.Repeat("n", 256) + ": invalid name",
			is:   producerErr,
		},
		{
			name:     "file replaces a directory",
			writeTar: writeEntries(file("lost+found", "x")),
			want:     "convert tar to ext4: lost+found: cannot replace a directory with a file",
		},
		{
			name:     "hard link to nothing",
			writeTar: writeEntries(entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}}),
			want:     "convert tar to ext4: b: file not found",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "disk.ext4")
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := FromTar(path, 0o600, 0, test.writeTar)
			want := fmt.Sprintf("create ext4 image %q: %s", path, test.want)
			if err == nil || err.Error() != want {
				t.Fatalf("got error %v\nwant %s", err, want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v is not %v", err, test.is)
			}
			checkUntouched(t, path)
		})
	}
}

// checkUntouched fails unless path holds what it held before and nothing is
// beside it.
func checkUntouched(t *testing.T, path string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != "before" {
		t.Errorf("file holds %d bytes, %v, want what it held before", len(got), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{filepath.Base(path)}, names); diff != "" {
		t.Errorf("files in the directory (-want +got):\n%s", diff)
	}
}

func TestFromTarWithoutDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "disk.ext4")
	if err := FromTar(path, 0o600, 0, writeEntries()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
}
