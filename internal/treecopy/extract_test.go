package treecopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// archive makes a tar stream. An entry's content is in its Uname.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		content := h.Uname
		h.Uname = ""
		if h.Typeflag != tar.TypeXGlobalHeader {
			h.Format = tar.FormatPAX
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func regular(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Uname: content}
}
func folder(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}
func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}
func hardLink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// names describes what is below a directory: type, and content or target.
func names(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		text := strings.TrimPrefix(path, dir+"/")
		switch entry.Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += "=" + string(content)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		case fs.ModeDir:
			text += "/"
		default:
			text += " " + entry.Type().String()
		}
		found = append(found, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestExtract(t *testing.T) {
	tests := []struct {
		name    string
		before  []tar.Header // extracted without Guarded
		entries []tar.Header
		o       ExtractOptions
		want    []string
		wantErr string
	}{
		{name: "nothing"},
		{name: "./ names", entries: []tar.Header{folder("./"), folder("./a/"), regular("./a//b/./c", "x")}, want: []string{"a/", "a/b/", "a/b/c=x"}},
		{name: "absolute", entries: []tar.Header{regular("/a", "")}, wantErr: `extract "/a": name "/a" is absolute`},
		{name: "..", entries: []tar.Header{regular("../a", "")}, wantErr: `extract "../a": name "../a" has a ..`},
		{name: ".. within", entries: []tar.Header{regular("a/../b", "")}, wantErr: `extract "a/../b": name "a/../b" has a ..`},
		{name: "names that look like ..", entries: []tar.Header{regular("..a/...", "x")}, want: []string{"..a/", "..a/...=x"}},
		{name: "file that is the root", entries: []tar.Header{regular("./.", "")}, wantErr: `extract "./.": it has the name of the directory itself`},
		{name: "long name", entries: []tar.Header{regular(strings.Repeat("a/", 2048)+"a", "")}, wantErr: "name has 4097 bytes, want at most 4095"},
		{name: "component too long", entries: []tar.Header{regular(strings.Repeat("a", 256)+"/b", "")}, wantErr: "file name too long"},

		{name: "later file wins", entries: []tar.Header{regular("a", "1"), regular("a", "2")}, want: []string{"a=2"}},
		{name: "file over link", before: []tar.Header{regular("x", "old"), link("a", "x")}, entries: []tar.Header{regular("a", "new")}, want: []string{"a=new", "x=old"}},
		{name: "link over file", before: []tar.Header{regular("a", "old")}, entries: []tar.Header{link("a", "b")}, want: []string{"a -> b"}},
		{name: "directory over directory", before: []tar.Header{regular("a/b", "old")}, entries: []tar.Header{folder("a"), regular("a/c", "new")}, want: []string{"a/", "a/b=old", "a/c=new"}},
		{name: "file over directory", before: []tar.Header{folder("a")}, entries: []tar.Header{regular("a", "")}, want: []string{"a/"}, wantErr: `extract "a": there is a directory already`},
		{name: "link over directory", before: []tar.Header{folder("a")}, entries: []tar.Header{link("a", "b")}, want: []string{"a/"}, wantErr: `extract "a": there is a directory already`},
		{name: "directory over file", before: []tar.Header{regular("a", "")}, entries: []tar.Header{folder("a")}, want: []string{"a="}, wantErr: `extract "a": there is a regular file already`},
		{name: "directory over link", before: []tar.Header{folder("b"), link("a", "b")}, entries: []tar.Header{folder("a")}, want: []string{"a -> b", "b/"}, wantErr: `extract "a": there is a symbolic link already`},
		{name: "file as directory", before: []tar.Header{regular("a", "")}, entries: []tar.Header{regular("a/b", "")}, want: []string{"a="}, wantErr: "not a directory"},
		{name: "file over FIFO", before: []tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}}, entries: []tar.Header{regular("a", "")}, want: []string{"a p---------"}, wantErr: `extract "a": there is a FIFO already`},
		{name: "FIFO as directory", before: []tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}}, entries: []tar.Header{regular("a/b", "")}, want: []string{"a p---------"}, wantErr: "not a directory"},
		{name: "file over FIFO of the stream", entries: []tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}, regular("a", "")}, want: []string{"a p---------"}, wantErr: "there is a FIFO already"},

		{name: "links as they are", entries: []tar.Header{link("a", "/etc/passwd"), link("b", "../../x")}, want: []string{"a -> /etc/passwd", "b -> ../../x"}},
		{name: "link out is not followed", entries: []tar.Header{link("a", "/tmp"), regular("a/b", "")}, want: []string{"a -> /tmp"}, wantErr: `extract "a/b": openat a: path escapes from parent`},
		{name: "link up is not followed", entries: []tar.Header{link("a", ".."), folder("a/b")}, want: []string{"a -> .."}, wantErr: "path escapes from parent"},
		{name: "link inside is followed", entries: []tar.Header{folder("usr/bin"), link("bin", "usr/bin"), regular("bin/x", "1")}, want: []string{"bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/x=1"}},
		{name: "link loop", entries: []tar.Header{link("a", "b"), link("b", "a"), regular("a/x", "")}, want: []string{"a -> b", "b -> a"}, wantErr: "too many"},
		{name: "dangling link as directory", entries: []tar.Header{link("a", "b"), regular("a/x", "")}, want: []string{"a -> b"}, wantErr: "not a directory"},
		{name: "hard link", entries: []tar.Header{regular("a/b", "1"), hardLink("c", "a/b"), regular("c", "2")}, want: []string{"a/", "a/b=1", "c=2"}},
		{name: "hard link to itself", entries: []tar.Header{regular("a", "1"), hardLink("a", "./a")}, want: []string{"a=1"}},
		{name: "hard link to nothing", entries: []tar.Header{hardLink("a", "b")}, wantErr: `extract "a": hard link to "b": no such file or directory`},
		{name: "hard link out", entries: []tar.Header{hardLink("a", "/etc/passwd")}, wantErr: `extract "a": hard link: name "/etc/passwd" is absolute`},
		{name: "hard link up", entries: []tar.Header{hardLink("a", "../x")}, wantErr: `extract "a": hard link: name "../x" has a ..`},
		{name: "hard link through link out", entries: []tar.Header{link("e", "/etc"), hardLink("a", "e/passwd")}, want: []string{"e -> /etc"}, wantErr: "path escapes from parent"},
		{name: "hard link to directory", entries: []tar.Header{folder("d"), hardLink("a", "d")}, want: []string{"d/"}, wantErr: "operation not permitted"},
		{name: "socket type", entries: []tar.Header{{Typeflag: '7', Name: "a"}}, wantErr: `extract "a": unknown type '7'`},
		{name: "device number", entries: []tar.Header{{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1 << 12}}, wantErr: "device number is 4096:0"},
		{name: "owner", o: ExtractOptions{KeepOwner: true}, entries: []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Uid: 1<<32 - 1}}, wantErr: "owner is 4294967295:0"},
		{name: "mode", entries: []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Mode: 1 << 20}}, wantErr: "mode is 04000000"},
		{name: "type in mode", entries: []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Mode: 0o100644}}, want: []string{"a="}},
		{name: "git's global comment", entries: []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, regular("a", "")}, want: []string{"a="}},
		{name: "other global record", entries: []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}}}, wantErr: `global record "path" is not supported`},
		{name: "too many bytes", o: ExtractOptions{MaxBytes: 3}, entries: []tar.Header{regular("a", "12"), regular("b", "34")}, want: []string{"a=12"}, wantErr: `extract "b": more than 3 bytes`},
		{name: "too many entries", o: ExtractOptions{MaxEntries: 1}, entries: []tar.Header{regular("a", ""), regular("b", "")}, want: []string{"a="}, wantErr: `extract "b": more than 1 entries`},

		{name: "guarded: absolute link", o: ExtractOptions{Guarded: true}, entries: []tar.Header{link("a", "/x")}, wantErr: `link target "/x" is outside of the destination`},
		{name: "guarded: link up", o: ExtractOptions{Guarded: true}, entries: []tar.Header{link("d/a", "../../x")}, want: []string{"d/"}, wantErr: `link target "../../x" is outside`},
		{name: "guarded: link to the root", o: ExtractOptions{Guarded: true}, entries: []tar.Header{link("d/a", "..")}, want: []string{"d/", "d/a -> .."}},
		{name: "guarded: link down and up", o: ExtractOptions{Guarded: true}, entries: []tar.Header{link("a", "."), link("b", "a/..")}, want: []string{"a -> ."}, wantErr: `link target "a/.." is outside`},
		{name: "guarded: no link is passed", o: ExtractOptions{Guarded: true}, entries: []tar.Header{folder("d"), link("a", "d"), regular("a/x", "")}, want: []string{"a -> d", "d/"}, wantErr: "not a directory"},
		{name: "guarded: nor one that was there", before: []tar.Header{folder("d"), link("a", "d")}, o: ExtractOptions{Guarded: true}, entries: []tar.Header{regular("a/b/x", "")}, want: []string{"a -> d", "d/"}, wantErr: "not a directory"},
		{name: "guarded: hard link to link", o: ExtractOptions{Guarded: true}, entries: []tar.Header{link("d/a", "../x"), hardLink("b", "d/a")}, want: []string{"d/", "d/a -> ../x"}, wantErr: "it is a symbolic link"},
		{name: "guarded: hard link", o: ExtractOptions{Guarded: true}, entries: []tar.Header{regular("d/a", "1"), hardLink("b", "d/a")}, want: []string{"b=1", "d/", "d/a=1"}},
		{name: "guarded: FIFO", o: ExtractOptions{Guarded: true}, entries: []tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}}, wantErr: "it is a FIFO"},
		{name: "guarded: device", o: ExtractOptions{Guarded: true, KeepOwner: true}, entries: []tar.Header{{Typeflag: tar.TypeBlock, Name: "a"}}, wantErr: "it is a block device"},
		{name: "guarded: renamed", o: ExtractOptions{Guarded: true, Rename: func(name string) (string, error) { return "r/" + name, nil }}, entries: []tar.Header{regular("a", "1"), hardLink("b", "a")}, want: []string{"r/", "r/a=1", "r/b=1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := ExtractTar(t.Context(), dir, bytes.NewReader(archive(t, test.before...)), ExtractOptions{}); err != nil {
				t.Fatal(err)
			}
			_, err := ExtractTar(t.Context(), dir, bytes.NewReader(archive(t, test.entries...)), test.o)
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, names(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestExtractTruncated cuts a stream everywhere: it is never taken for a whole
// one, and no part of a file stays.
func TestExtractTruncated(t *testing.T) {
	whole := archive(t, regular("a", strings.Repeat("a", 700)), folder("d"), regular("d/b", "b"))
	want := []string{"a=" + strings.Repeat("a", 700), "d/", "d/b=b"}
	for n := 0; n < len(whole); n += 64 {
		dir := t.TempDir()
		if _, err := ExtractTar(t.Context(), dir, bytes.NewReader(whole[:n]), ExtractOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: got error %v, want %v", n, len(whole), err, io.ErrUnexpectedEOF)
		}
		if got := names(t, dir); !slices.Equal(got, want[:len(got)]) {
			t.Errorf("%d of %d bytes: got %q, want the first of %q", n, len(whole), got, want)
		}
	}
	for padding, wantErr := range map[string]bool{"": false, strings.Repeat("\x00", 10240): false, "x": true, strings.Repeat("\x00", 10240) + "x": true} {
		_, err := ExtractTar(t.Context(), t.TempDir(), strings.NewReader(string(whole)+padding), ExtractOptions{})
		if (err != nil) != wantErr {
			t.Errorf("%d bytes behind the end: got error %v, want one: %v", len(padding), err, wantErr)
		}
	}
}

func TestExtractAttributes(t *testing.T) {
	dir := t.TempDir()
	umask := unix.Umask(0o077) // has no effect
	defer unix.Umask(umask)
	xattrs := map[string]string{"SCHILY.xattr.user.a": "1", "SCHILY.xattr.trusted.b": "2", "other": "3"}
	entries := archive(t,
		tar.Header{Typeflag: tar.TypeReg, Name: "parent/f", Mode: 0o6755, ModTime: oldTime, PAXRecords: xattrs},
		tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o3500, ModTime: oldTime},
		regular("d/f", ""),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "x", ModTime: oldTime},
	)
	if _, err := ExtractTar(t.Context(), dir, bytes.NewReader(entries), ExtractOptions{Guarded: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"parent": fs.ModeDir | 0o755, "parent/f": 0o755, "d": fs.ModeDir | fs.ModeSticky | 0o500, "d/f": 0o644} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: got mode %v, want %v", name, info.Mode(), want)
		}
	}
	for _, name := range []string{"parent/f", "d", "l"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(oldTime) {
			t.Errorf("%s: got time %v, want %v", name, info.ModTime(), oldTime)
		}
	}
	buf := make([]byte, 1000)
	n, err := unix.Listxattr(filepath.Join(dir, "parent/f"), buf)
	if got := string(buf[:max(n, 0)]); got != "user.a\x00" || err != nil {
		t.Errorf("got extended attributes %q, error %v, want user.a", got, err)
	}
	// What is there keeps its attributes.
	again := archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "parent", Mode: 0o777, ModTime: time.Unix(1, 0)}, tar.Header{Typeflag: tar.TypeDir, Name: ".", Mode: 0o777})
	if _, err := ExtractTar(t.Context(), dir, bytes.NewReader(again), ExtractOptions{Guarded: true}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "parent")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, error %v, want mode 0755", info, err)
	}
}

// TestExtractNode records what mknod would do, which users may not.
func TestExtractNode(t *testing.T) {
	type call struct {
		mode uint32
		dev  int
	}
	var got []call
	mknodat = func(dir int, name string, mode uint32, dev int) error {
		got = append(got, call{mode, dev})
		return unix.Mknodat(dir, name, unix.S_IFIFO|mode&modeBits, 0)
	}
	t.Cleanup(func() { mknodat = unix.Mknodat })
	entries := archive(t,
		tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3, Mode: 0o666},
		tar.Header{Typeflag: tar.TypeBlock, Name: "b", Devmajor: 4095, Devminor: 1<<20 - 1, Mode: 0o660})
	dir := t.TempDir()
	if _, err := ExtractTar(t.Context(), dir, bytes.NewReader(entries), ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []call{{unix.S_IFCHR | 0o600, 0x103}, {unix.S_IFBLK | 0o600, int(unix.Mkdev(4095, 1<<20-1))}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(call{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "c")); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("got %v, error %v, want mode 0666", info, err)
	}
}

func TestHoles(t *testing.T) {
	const blocks = 256
	content := make([]byte, blocks*blockSize+100)
	content[0], content[100*blockSize+5] = 'a', 'b'
	for _, size := range []int{1, 100, blockSize - 1, 32 << 10, len(content)} {
		dir, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		file, err := NewFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		for chunk := range slices.Chunk(content, size) {
			if n, err := file.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := file.Commit("f", &Attributes{Mode: 0o600}, true); err != nil {
			t.Fatal(err)
		}
		var stat unix.Stat_t
		path := filepath.Join(dir.Name(), "f")
		got, err := os.ReadFile(path)
		if err := errors.Join(err, file.Discard(), dir.Close(), unix.Stat(path, &stat)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("chunks of %d: got other content", size)
		}
		// In units of 512 bytes. Chunks that are no multiple of a block may leave
		// more of it.
		if size >= blockSize-1 && stat.Blocks > 64 {
			t.Errorf("chunks of %d: file has %d blocks, want at most 64", size, stat.Blocks)
		}
	}
}

// FuzzExtractTar looks at what is beside the directory.
func FuzzExtractTar(f *testing.F) {
	for _, seed := range [][]tar.Header{
		{folder("a/"), regular("a/b", "hello"), hardLink("c", "a/b"), link("d", "a")},
		{link("a", "../secret"), regular("a", "x")},
		{link("a", ".."), regular("a/secret", "x")},
		{hardLink("a", "../secret"), regular("a", "x")},
		{{Typeflag: tar.TypeReg, Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}, Mode: 0o7777}},
		{{Typeflag: tar.TypeFifo, Name: "x"}, {Typeflag: tar.TypeChar, Name: "y"}},
	} {
		f.Add(archive(f, seed...), false)
		f.Add(archive(f, seed...), true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, guarded bool) {
		mknodat = func(int, string, uint32, int) error { return unix.EPERM }
		outer := t.TempDir()
		secret, inner := filepath.Join(outer, "secret"), filepath.Join(outer, "inner")
		if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(inner, 0o700)); err != nil {
			t.Fatal(err)
		}
		summary, err := ExtractTar(t.Context(), inner, bytes.NewReader(stream), ExtractOptions{Guarded: guarded, MaxBytes: 1 << 20, MaxEntries: 100})
		if err == nil && summary.Bytes > 1<<20 {
			t.Errorf("made %d bytes", summary.Bytes)
		}
		entries, err := os.ReadDir(outer)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(secret)
		content, readErr := os.ReadFile(secret)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%d %v %s", len(entries), info.Mode(), content), "2 -rw------- secret"; got != want {
			t.Errorf("got %s outside, want %s", got, want)
		}
		err = filepath.WalkDir(inner, func(path string, entry fs.DirEntry, err error) error {
			if strings.HasPrefix(entry.Name(), ".kindling-") {
				t.Errorf("%s is left", path)
			}
			if guarded && err == nil && entry.Type() == fs.ModeSymlink {
				if real, err := filepath.EvalSymlinks(path); err == nil && real != inner && !strings.HasPrefix(real, inner+"/") {
					t.Errorf("%s leads to %s", path, real)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
