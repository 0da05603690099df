package treecopy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// oldTime has nanoseconds and is no time at which a test runs.
var oldTime = time.Unix(1_000_000_000, 123_456_789)

// snapshot describes everything below a directory by name: type, mode, links,
// time (of what is no link), target or digest of the content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		text := fmt.Sprintf("%06o %d %d.%09d", stat.Mode, stat.Nlink, stat.Mtim.Sec, stat.Mtim.Nsec)
		switch entry.Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", len(content), sha256.Sum256(content))
			if first := inodes[stat.Ino]; first != "" {
				text += " same as " + first
			}
			inodes[stat.Ino] = name
			value := make([]byte, 100)
			if n, err := unix.Getxattr(path, "user.kindling", value); err == nil {
				text += fmt.Sprintf(" user.kindling=%q", value[:n])
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		found[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// makeTree makes a tree with everything that a copy keeps.
func makeTree(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(os.Mkdir(dir, 0o755))
	deep := strings.Repeat("d/", 300)
	must(os.MkdirAll(at(deep), 0o755))
	for name, content := range map[string]string{
		"plain":                         "hello\n",
		"empty":                         "",
		"new\nline":                     "1",
		"with space":                    "2",
		"not UTF-8 \xff\xfe":            "3",
		"a\\b*?":                        "4",
		strings.Repeat("n", 255):        "5",
		deep + "end":                    "6",
		"large":                         strings.Repeat("0123456789", 50_000),
		".hidden":                       "7",
		"zeros between":                 "a" + strings.Repeat("\x00", 100_000) + "b",
		"ends with zeros":               "a" + strings.Repeat("\x00", 100_000),
		strings.Repeat("\xc3\xa4", 120): "8",
	} {
		must(os.WriteFile(at(name), []byte(content), 0o644))
	}
	must(os.Mkdir(at("sticky"), 0o755))
	must(os.Link(at("plain"), at("sticky/second name")))
	must(os.Symlink("../plain", at("sticky/link")))
	must(os.Symlink("/etc/passwd", at("absolute link")))
	must(os.Symlink("nowhere/../\xff", at("dangling")))
	must(unix.Mkfifo(at("fifo"), 0o640))
	must(unix.Setxattr(at("large"), "user.kindling", []byte("a\x00b=c\n"), 0))
	for name, mode := range map[string]uint32{"empty": 0o4751, "large": 0o2711, "sticky": 0o1777, ".hidden": 0o400, "d": 0o555, "fifo": 0o666} {
		must(unix.Chmod(at(name), mode))
	}
	stamp, err := unix.TimeToTimespec(oldTime)
	must(err)
	must(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW))
	}))
}

func TestRoundTrip(t *testing.T) {
	source, target := filepath.Join(t.TempDir(), "source"), t.TempDir()
	makeTree(t, source)
	umask := unix.Umask(0o077) // has no effect
	defer unix.Umask(umask)
	for _, name := range []string{".", "copy"} {
		var archive bytes.Buffer
		written, err := WriteTar(t.Context(), &archive, source, WriteOptions{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		var progress int64
		made, err := ExtractTar(t.Context(), target, &archive, ExtractOptions{
			KeepOwner: true, Progress: func(n int64) { progress = n },
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(snapshot(t, source), snapshot(t, filepath.Join(target, name))); diff != "" {
			t.Errorf("name %s (-want +got):\n%s", name, diff)
		}
		if made.Entries != written.Entries || made.Bytes != written.Bytes || made.Bytes != progress {
			t.Errorf("made %+v, progress %d, want %+v", made, progress, written)
		}
		if err := os.RemoveAll(target); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(target, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteTarSource(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "folder"), 0o755),
		os.WriteFile(filepath.Join(dir, "folder", "file"), []byte("x"), 0o644),
		os.Symlink("folder", filepath.Join(dir, "link")),
		os.Symlink("none", filepath.Join(dir, "dangling")),
		unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		source  string
		follow  bool
		want    WriteSummary
		wantErr error
	}{
		{source: "folder", want: WriteSummary{Entries: 2, Bytes: 1}},
		{source: "folder/file", want: WriteSummary{Entries: 1, Bytes: 1}},
		{source: "link", want: WriteSummary{Entries: 1}},
		{source: "link/.", want: WriteSummary{Entries: 2, Bytes: 1}},
		{source: "link", follow: true, want: WriteSummary{Entries: 2, Bytes: 1}},
		{source: "dangling", want: WriteSummary{Entries: 1}},
		{source: "dangling", follow: true, wantErr: fs.ErrNotExist},
		{source: "none", wantErr: fs.ErrNotExist},
		{source: "socket", want: WriteSummary{Skipped: []string{dir + "/socket"}}},
	}
	for _, test := range tests {
		got, err := WriteTar(t.Context(), io.Discard, dir+"/"+test.source, WriteOptions{Name: "x", FollowLink: test.follow})
		if !errors.Is(err, test.wantErr) {
			t.Errorf("%s, follow %v: got error %v, want %v", test.source, test.follow, err, test.wantErr)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s, follow %v (-want +got):\n%s", test.source, test.follow, diff)
		}
	}
}

// TestWriteTarProc has files whose size is told as 0, or as more than they have.
func TestWriteTarProc(t *testing.T) {
	for _, source := range []string{"/proc/version", "/sys/devices/system/cpu/possible", "/proc/self/limits"} {
		want, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		target := t.TempDir()
		var archive bytes.Buffer
		if _, err := WriteTar(t.Context(), &archive, source, WriteOptions{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, err := ExtractTar(t.Context(), target, &archive, ExtractOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(target, "x")); string(got) != string(want) || err != nil {
			t.Errorf("%s: got %q, error %v, want %q", source, got, err, want)
		}
	}
}

// changing is a writer that runs something at the first write.
type changing struct {
	io.Writer
	change func()
}

func (c *changing) Write(b []byte) (int, error) {
	if c.change != nil {
		c.change()
		c.change = nil
	}
	return c.Writer.Write(b)
}

func TestWriteTarFileChanges(t *testing.T) {
	const size = 1 << 20
	for _, change := range []int64{10, size + 10} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		w := &changing{Writer: io.Discard, change: func() {
			if err := os.Truncate(path, change); err != nil {
				t.Error(err)
			}
		}}
		got, err := WriteTar(t.Context(), w, path, WriteOptions{Name: "x"})
		if change < size {
			if err == nil || !strings.Contains(err.Error(), "it has shrunk by") {
				t.Errorf("got error %v, want that the file has shrunk", err)
			}
		} else if err != nil || got.Bytes != size {
			t.Errorf("got %d bytes, error %v, want %d", got.Bytes, err, size)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteTar(ctx, io.Discard, t.TempDir(), WriteOptions{Name: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("write: got error %v, want %v", err, context.Canceled)
	}
	if _, err := ExtractTar(ctx, t.TempDir(), strings.NewReader(""), ExtractOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("extract: got error %v, want %v", err, context.Canceled)
	}
}

// TestMemory counts all that is allocated, which bounds what is held.
func TestMemory(t *testing.T) {
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "large"), bytes.Repeat([]byte("x"), 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(source, "many"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := os.WriteFile(filepath.Join(source, "many", fmt.Sprint("file", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		limit uint64
	}{
		{"large", 4 << 20},
		{"many", 128 << 20}, // 5,000 times the buffers of archive/tar and names
	} {
		target := t.TempDir()
		r, w := io.Pipe()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		go func() {
			_, err := WriteTar(t.Context(), w, filepath.Join(source, test.name), WriteOptions{Name: "x"})
			_ = w.CloseWithError(err)
		}()
		summary, err := ExtractTar(t.Context(), target, r, ExtractOptions{})
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > test.limit {
			t.Errorf("%s: allocated %d bytes for %+v, want at most %d", test.name, got, summary, test.limit)
		}
	}
}

// TestWriteTarVanished removes files after their names were read.
func TestWriteTarVanished(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/a", []byte("x"), 0o600), os.WriteFile(dir+"/b", nil, 0o600), os.Mkdir(dir+"/c", 0o700), os.WriteFile(dir+"/d", nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := WriteTar(t.Context(), io.Discard, dir, WriteOptions{Name: "x", Progress: func(int64) {
		if err := errors.Join(os.Remove(dir+"/b"), os.Remove(dir+"/c")); err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := WriteSummary{Entries: 3, Bytes: 1, Skipped: []string{dir + "/b", dir + "/c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWriteTarSkipsMany has more to tell of than there is place for.
func TestWriteTarSkipsMany(t *testing.T) {
	dir := t.TempDir()
	name := strings.Repeat("n", 250)
	for i := range 400 {
		if err := unix.Mknod(fmt.Sprintf("%s/%03d%s", dir, i, name), unix.S_IFSOCK|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	got, err := WriteTar(t.Context(), io.Discard, dir, WriteOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	last := got.Skipped[len(got.Skipped)-1]
	if told := len(got.Skipped) - 1; last != fmt.Sprintf("and %d more", 400-told) || told*250 > maxSkipped || told == 0 {
		t.Errorf("got %d paths and %q, want that 400 were skipped", told, last)
	}
}
