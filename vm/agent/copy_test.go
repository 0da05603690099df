package agent_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/vm/agent"
)

// oldTime is a time at which no test runs.
var oldTime = time.Unix(1e9, 0)

// makeTree makes a small tree; with all, with what agents of 0.0.7 cannot make.
func makeTree(t *testing.T, dir string, all bool) {
	t.Helper()
	if err := os.MkdirAll(dir+"/sub/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"a": "hello", "sub/large": strings.Repeat("0123456789", 20_000), "sub/new\nline": "", strings.Repeat("n", 255): "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if all {
		for _, err := range []error{
			os.WriteFile(dir+"/not UTF-8 \xff", []byte("y"), 0o600), os.Symlink("../a", dir+"/sub/link"), os.Link(dir+"/a", dir+"/sub/second"),
			os.Chmod(dir+"/sub", fs.ModeSticky|0o755), os.Chtimes(dir+"/sub", oldTime, oldTime),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chtimes(dir+"/a", oldTime, oldTime); err != nil {
		t.Fatal(err)
	}
}

// tree describes what is below a directory.
func tree(t *testing.T, dir string, all bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprint(" ", info.ModTime().Unix(), " ", string(content))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = "-> " + target
		case all:
			text += fmt.Sprint(" ", info.ModTime().Unix())
		}
		found[strings.TrimPrefix(path, dir+"/")] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// onAgents runs a test against today's agent and one of 0.0.7.
func onAgents(t *testing.T, test func(t *testing.T, c *agent.Client, today bool)) {
	t.Parallel()
	t.Run("today", func(t *testing.T) { test(t, newClient(t, serveAgent(t)), true) })
	t.Run("0.0.7", func(t *testing.T) { test(t, dialOld(t), false) })
}

func TestCopyTree(t *testing.T) {
	onAgents(t, func(t *testing.T, c *agent.Client, today bool) {
		source, guest, back := t.TempDir(), t.TempDir(), t.TempDir()
		makeTree(t, source, today)
		want := tree(t, source, today)
		var sent, received int64
		to, err := c.CopyTo(limited(t), agent.CopyToOptions{
			Source: source, Dir: guest, Name: "new", KeepOwner: today, Progress: func(n int64) { sent = n },
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree(t, guest+"/new", today)); diff != "" {
			t.Errorf("to the guest (-want +got):\n%s", diff)
		}
		from, err := c.CopyFrom(limited(t), agent.CopyFromOptions{
			Source: guest + "/new", Dir: back, Name: ".", Progress: func(n int64) { received = n },
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree(t, back, today)); diff != "" {
			t.Errorf("from the guest (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(to, from); diff != "" || to.Bytes != sent || from.Bytes != received {
			t.Errorf("to %+v (progress %d), from %+v (progress %d)", to, sent, from, received)
		}
		var archive bytes.Buffer
		created, err := c.CreateTar(limited(t), agent.CreateTarOptions{Path: guest + "/new", Archive: &archive})
		if err != nil {
			t.Fatal(err)
		}
		if created.Entries != to.Entries || created.Bytes != int64(archive.Len()) {
			t.Errorf("tar: got %+v, want %d entries, %d bytes", created, to.Entries, archive.Len())
		}
		if _, err := c.ExtractTar(limited(t), agent.ExtractTarOptions{Dir: guest + "/third", Archive: &archive}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree(t, guest+"/third/new", today)); diff != "" {
			t.Errorf("through tar (-want +got):\n%s", diff)
		}
		// Over what is there.
		if _, err := c.CopyTo(limited(t), agent.CopyToOptions{Source: source, Dir: guest + "/new", Name: "."}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCopyFile(t *testing.T) {
	onAgents(t, func(t *testing.T, c *agent.Client, _ bool) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(dir+"/a", []byte("hello"), 0o640), os.Symlink("a", dir+"/link")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CopyTo(limited(t), agent.CopyToOptions{Source: dir + "/link", Dir: dir, Name: "b", FollowLink: true}); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("a", dir+"/c"); err != nil {
			t.Fatal(err)
		}
		// A link in the file's place is replaced, not followed.
		if _, err := c.CopyFrom(limited(t), agent.CopyFromOptions{Source: dir + "/b", Dir: dir, Name: "c"}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(dir + "/c"); err != nil || info.Mode() != 0o640 || info.Size() != 5 {
			t.Errorf("got %v, error %v, want a file", info, err)
		}
	})
}

func TestCopyErrors(t *testing.T) {
	onAgents(t, func(t *testing.T, c *agent.Client, today bool) {
		dir := t.TempDir()
		var result agent.CopyResult
		copyTo := func(o agent.CopyToOptions) (err error) { result, err = c.CopyTo(limited(t), o); return err }
		copyFrom := func(o agent.CopyFromOptions) (err error) { result, err = c.CopyFrom(limited(t), o); return err }
		if err := errors.Join(os.Symlink("x", dir+"/link"), os.WriteFile(dir+"/large", make([]byte, 100_000), 0o600), os.Mkdir(dir+"/d", 0o700)); err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			name string
			err  error
			want string
		}{
			{"no source here", copyTo(agent.CopyToOptions{Source: dir + "/none", Dir: dir, Name: "x"}), "stat " + dir + "/none: no such file or directory"},
			{"no source there", copyFrom(agent.CopyFromOptions{Source: dir + "/none", Dir: dir, Name: "x"}), "no such file or directory"},
			{"path not UTF-8 there", copyFrom(agent.CopyFromOptions{Source: "/\xff", Dir: dir, Name: "x"}), `path "/\xff" is not UTF-8`},
			{"path not UTF-8 to", copyTo(agent.CopyToOptions{Source: dir, Dir: "/\xff", Name: "x"}), `path "/\xff" is not UTF-8`},
			{"no path", copyFrom(agent.CopyFromOptions{Dir: dir, Name: "x"}), "path is empty"},
			{"folder over file", copyTo(agent.CopyToOptions{Source: dir + "/d", Dir: dir, Name: "large"}), map[bool]string{true: "there is a regular file already", false: "not a directory"}[today]},
			{"file over folder", copyFrom(agent.CopyFromOptions{Source: dir + "/large", Dir: dir, Name: "d"}), "there is a directory already"},
			{"no folder here", copyFrom(agent.CopyFromOptions{Source: dir + "/large", Dir: dir + "/none", Name: "d"}), "open folder to extract to"},
			{"too large", copyFrom(agent.CopyFromOptions{Source: dir + "/large", Dir: dir, Name: "x", MaxBytes: 99_999}), "more than 99999 bytes"},
			{"too many", copyFrom(agent.CopyFromOptions{Source: dir, Dir: dir + "/d", Name: "x", MaxEntries: 2}), "more than 2 entries"},
		}
		for _, test := range tests {
			if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("%s: got error %v, want %q", test.name, test.err, test.want)
			}
		}
		err := copyTo(agent.CopyToOptions{Source: dir + "/link", Dir: dir, Name: "y"})
		if today && err != nil || !today && (err == nil || !strings.Contains(err.Error(), "agent makes files and directories only, not type '2'")) {
			t.Errorf("link: got %+v, error %v", result, err)
		}
		_, err = c.ExtractTar(limited(t), agent.ExtractTarOptions{Dir: dir, Archive: strings.NewReader("x")})
		if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
			t.Errorf("broken tar: got error %v, want unexpected EOF", err)
		}
		_, err = c.ExtractTar(limited(t), agent.ExtractTarOptions{Dir: dir, Archive: io.MultiReader(strings.NewReader(strings.Repeat("\x00", 512)), failing{})})
		if !errors.Is(err, errCutOff) {
			t.Errorf("broken reader: got error %v, want %v", err, errCutOff)
		}
		_, err = c.CreateTar(limited(t), agent.CreateTarOptions{Path: dir + "/large", Archive: failing{}})
		if !errors.Is(err, errCutOff) {
			t.Errorf("broken writer: got error %v, want %v", err, errCutOff)
		}
	})
}

// endless is an archive of one file without an end.
func endless(t *testing.T) io.Reader {
	t.Helper()
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1 << 40, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	return io.MultiReader(&header, zeros{})
}

// TestCopyCancelled ends calls from here; nothing is left of the file.
func TestCopyCancelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newClient(t, serveAgent(t))
	ctx, cancel := context.WithCancel(limited(t))
	_, err := c.ExtractTar(ctx, agent.ExtractTarOptions{Dir: dir, Archive: endless(t), Progress: func(n int64) {
		if n > 1<<20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	for deadline := time.Now().Add(patience); ; {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is left", entries[0].Name())
		}
	}
}

func TestStat(t *testing.T) {
	onAgents(t, func(t *testing.T, c *agent.Client, today bool) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(dir+"/a", []byte("hello"), 0o640), os.Chmod(dir+"/a", fs.ModeSetuid|0o750),
			os.Chtimes(dir+"/a", oldTime, oldTime), os.Symlink("a", dir+"/link")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{dir, dir + "/a", dir + "/link", "/dev/null"} {
			want, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Stat(limited(t), name, false)
			if err != nil {
				t.Fatal(err)
			}
			mode := want.Mode()
			if !today {
				mode &= fs.ModeDir | fs.ModeSymlink | fs.ModePerm
				if name == "/dev/null" {
					mode |= fs.ModeIrregular
				}
			}
			if got.Mode != mode || got.Size != want.Size() || (got.Details != nil) != today {
				t.Errorf("%s: got %+v, want mode %v, size %d", name, got, mode, want.Size())
			}
			if today && (!got.Details.ModTime.Equal(want.ModTime()) || got.Details.UID != uint32(os.Getuid())) {
				t.Errorf("%s: got %+v, want time %v", name, got.Details, want.ModTime())
			}
			if (name == dir+"/link") != (got.LinkTarget == "a") {
				t.Errorf("%s: got target %q", name, got.LinkTarget)
			}
		}
		if got, err := c.Stat(limited(t), dir+"/link", true); err != nil || got.Size != 5 {
			t.Errorf("followed: got %+v, error %v, want size 5", got, err)
		}
		if _, err := c.Stat(limited(t), dir+"/none", true); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
		}
		if _, err := c.Stat(limited(t), dir+"/a/x", true); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("got error %v, want not a directory", err)
		}
	})
}
