package main

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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// copyTest is a folder here, which is the working folder, and one in the
// machine, which is this one.
func copyTest(t *testing.T) (guest string) {
	t.Helper()
	guest = t.TempDir()
	t.Chdir(t.TempDir())
	for _, dir := range []string{guest, "."} {
		for _, err := range []error{
			os.MkdirAll(filepath.Join(dir, "tree/sub"), 0o755), os.WriteFile(filepath.Join(dir, "tree/f"), []byte("1"), 0o644),
			os.WriteFile(filepath.Join(dir, "file"), []byte("hello"), 0o640), os.Symlink("file", filepath.Join(dir, "link")),
			os.Mkdir(filepath.Join(dir, "folder"), 0o755), os.Symlink("folder", filepath.Join(dir, "to folder")),
			os.Symlink("new", filepath.Join(dir, "dangling")), os.Symlink("tree", filepath.Join(dir, "to tree")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return guest
}

// listTree gives the paths below a folder: folders with a slash, links with
// their targets.
func listTree(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		text := strings.TrimPrefix(path, filepath.Clean(dir)+"/")
		if dir == "." {
			text = path
		}
		switch entry.Type() {
		case fs.ModeDir:
			text += "/"
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += "->" + target
		}
		found = append(found, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCopy has what docker cp does, both ways.
func TestCopy(t *testing.T) {
	startMachine(t, "web")
	before := []string{"dangling->new", "file", "folder/", "link->file", "to folder->folder", "to tree->tree", "tree/", "tree/f", "tree/sub/"}
	tests := []struct {
		name         string
		flags        []string
		source, dest string   // below the folders
		added        []string // to before
		want         string   // error, with FROM and TO
		code         int
	}{
		{name: "file to a new name", source: "file", dest: "new", added: []string{"new"}},
		{name: "file over a file", source: "file", dest: "tree/f"},
		{name: "file into a folder", source: "file", dest: "folder", added: []string{"folder/file"}},
		{name: "file into a folder with a slash", source: "file", dest: "folder/", added: []string{"folder/file"}},
		{name: "file into a linked folder", source: "file", dest: "to folder", added: []string{"folder/file"}},
		{name: "file to a folder that is not there", source: "file", dest: "new/", code: 1, want: "TO/new does not exist, which must be a folder"},
		{name: "file below what is not there", source: "file", dest: "new/x", code: 1, want: "the folder that TO/new/x would be in does not exist"},
		{name: "folder to a new name", source: "tree", dest: "new", added: []string{"new/", "new/f", "new/sub/"}},
		{name: "folder to a new name with a slash", source: "tree/", dest: "new/", added: []string{"new/", "new/f", "new/sub/"}},
		{name: "content to a new name", source: "tree/.", dest: "new", added: []string{"new/", "new/f", "new/sub/"}},
		{name: "folder into a folder", source: "tree", dest: "folder", added: []string{"folder/tree/", "folder/tree/f", "folder/tree/sub/"}},
		{name: "content into a folder", source: "tree/.", dest: "folder", added: []string{"folder/f", "folder/sub/"}},
		{name: "folder over a file", source: "tree", dest: "file", code: 1, want: "FROM/tree is a folder, and TO/file is none"},
		{name: "folder below what is not there", source: "tree", dest: "new/x", code: 1, want: "the folder that TO/new/x would be in does not exist"},
		{name: "link", source: "link", dest: "new", added: []string{"new->file"}},
		{name: "link followed", flags: []string{"-L"}, source: "link", dest: "new", added: []string{"new"}},
		{name: "link to a folder", source: "to tree", dest: "folder", added: []string{"folder/to tree->tree"}},
		{name: "link to a folder followed", flags: []string{"-a", "-L"}, source: "to tree", dest: "folder", added: []string{"folder/to tree/", "folder/to tree/f", "folder/to tree/sub/"}},
		{name: "content behind a link", source: "to tree/.", dest: "folder", added: []string{"folder/f", "folder/sub/"}},
		{name: "file with a slash", source: "file/", dest: "new", code: 1, want: "FROM/file is no folder"},
		{name: "slash behind a file", source: "file", dest: "tree/f/", code: 1, want: "TO/tree/f is no folder"},
	}
	for _, test := range tests {
		for _, toGuest := range []bool{true, false} {
			t.Run(map[bool]string{true: "to: ", false: "from: "}[toGuest]+test.name, func(t *testing.T) {
				guest := copyTest(t)
				source, dest, to := test.source, "web:"+guest+"/"+test.dest, guest
				from, toName := "", "web:"+guest+"/"
				if !toGuest {
					source, dest, to = "web:"+guest+"/"+test.source, test.dest, "."
					from, toName = toName, from
				}
				got := kindling(append(append([]string{"cp"}, test.flags...), source, dest)...)
				want := result{Code: test.code}
				if test.want != "" {
					want.Stderr = "kindling: " + strings.NewReplacer("FROM/", from, "TO/", toName).Replace(test.want) + "\n"
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				var added []string
				for _, name := range listTree(t, to) {
					found := false
					for _, old := range before {
						found = found || old == name
					}
					if !found {
						added = append(added, name)
					}
				}
				if diff := cmp.Diff(test.added, added); diff != "" {
					t.Errorf("added (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestCopyThroughLinksInGuest(t *testing.T) {
	startMachine(t, "web")
	for name, want := range map[string]string{"link": "file", "dangling": "new"} {
		guest := copyTest(t)
		if err := os.WriteFile("source", []byte("new content"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := kindling("cp", "source", "web:"+guest+"/"+name); got.Code != 0 {
			t.Errorf("got %+v, want code 0", got)
		}
		if info, err := os.Lstat(guest + "/" + name); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s: got %v, error %v, want that it stays a link", name, info, err)
		}
		if content, err := os.ReadFile(guest + "/" + want); string(content) != "new content" || err != nil {
			t.Errorf("%s: got %q, error %v, want the new content", want, content, err)
		}
	}
}

func TestCopyRefuses(t *testing.T) {
	startMachine(t, "web")
	guest := copyTest(t)
	if err := errors.Join(os.Symlink("/etc", guest+"/out"), os.Symlink("loop", guest+"/loop"), unix.Mkfifo(guest+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	at := "web:" + guest
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"source not here", []string{"none", at}, 1, "lstat none: no such file or directory"},
		{"source not in the machine", []string{at + "/none", "."}, 1, at + "/none does not exist"},
		{"archive not in the machine", []string{at + "/none", "-"}, 1, at + "/none does not exist"},
		{"archive to nothing", []string{"-", at + "/none"}, 1, at + "/none does not exist"},
		{"archive to a file", []string{"-", at + "/file"}, 1, at + "/file is no folder, which a tar stream needs"},
		{"archive that is none", []string{"-", at}, 125, "extract tar in guest: rpc error: code = InvalidArgument desc = extract tar: read tar stream: unexpected EOF"},
		{"link out", []string{at + "/out", "."}, 125, "copy " + guest + `/out from guest: extract "out": link target "/etc" is outside of the destination`},
		{"FIFO", []string{at + "/fifo", "."}, 125, "copy " + guest + `/fifo from guest: extract "fifo": it is a FIFO`},
		{"link loop", []string{"file", at + "/loop"}, 1, at + "/loop has more than 40 links"},
		{"other machine", []string{"file", "other:/"}, 125, "no machine called other is running"},
		{"two machines", []string{"web:/a", "web:/b"}, 2, `got "web:/a" and "web:/b", want one of them as VM:PATH`},
		{"no machine", []string{"a", "/b:c"}, 2, `got "a" and "/b:c", want one of them as VM:PATH`},
		{"no path", []string{"web:", "."}, 2, `"web:" has no path`},
		{"empty path", []string{"web:/a", ""}, 2, `"" has no path`},
		{"name that none has", []string{"_:/a", "."}, 2, `machine name "_": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"one path", []string{"web:/a"}, 2, "accepts 2 arg(s), received 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := kindling(append([]string{"cp"}, test.args...)...)
			if diff := cmp.Diff(result{test.code, "", "kindling: " + test.want + "\n"}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCopySkips(t *testing.T) {
	startMachine(t, "web")
	guest := copyTest(t)
	for _, dir := range []string{".", guest} {
		if err := unix.Mknod(dir+"/tree/a\x1bb", unix.S_IFSOCK|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	want := result{0, "", `kindling: skipped "tree/a\x1bb", a socket or gone meanwhile` + "\n"}
	if diff := cmp.Diff(want, kindling("cp", "tree", "web:"+guest+"/new")); diff != "" {
		t.Errorf("to (-want +got):\n%s", diff)
	}
	got := kindling("cp", "web:"+guest+"/tree", "new")
	if got.Code != 0 || !strings.Contains(got.Stderr, "skipped ") || strings.Contains(got.Stderr, "\x1b") {
		t.Errorf("from: got %+v, want that the socket is skipped", got)
	}
}

func TestCopyArchive(t *testing.T) {
	startMachine(t, "web")
	guest := copyTest(t)
	got := kindling("cp", "web:"+guest+"/tree", "-")
	if got.Code != 0 || got.Stderr != "" {
		t.Fatalf("got %+v, want code 0", got)
	}
	var names []string
	archive := tar.NewReader(strings.NewReader(got.Stdout))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{"tree/", "tree/f", "tree/sub/"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var stdout, stderr bytes.Buffer
	code := run([]string{"cp", "-", "web:" + guest + "/folder"}, strings.NewReader(got.Stdout), &stdout, &stderr)
	if diff := cmp.Diff(result{}, result{code, stdout.String(), stderr.String()}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tree/", "tree/f", "tree/sub/"}, listTree(t, guest+"/folder")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	start := time.Unix(0, 0)
	now := start
	p := &progress{w: &out, now: func() time.Time { return now }, started: start}
	for _, step := range []time.Duration{0, 999 * time.Millisecond, time.Second, 1100 * time.Millisecond, 2 * time.Second} {
		now = start.Add(step)
		p.report(int64(step/time.Millisecond) << 20)
	}
	p.end()
	want := "\r1000.0 MiB, 1000.0 MiB/s\x1b[K\r2000.0 MiB, 1000.0 MiB/s\x1b[K\r\x1b[K"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	silent := newProgress(io.Discard)
	silent.started = start
	silent.report(1)
	silent.end()
}

func TestStat(t *testing.T) {
	startMachine(t, "web")
	guest := copyTest(t)
	at := time.Unix(1e9, 5)
	if err := errors.Join(os.Chmod(guest+"/file", fs.ModeSetuid|0o751), os.Chtimes(guest+"/file", at, at)); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(guest+"/file", &stat); err != nil {
		t.Fatal(err)
	}
	expand := func(text string) string {
		return os.Expand(text, func(name string) string {
			return map[string]string{"PATH": guest, "UID": fmt.Sprint(stat.Uid), "GID": fmt.Sprint(stat.Gid), "INODE": fmt.Sprint(stat.Ino)}[name]
		})
	}
	tests := []struct {
		name string
		args []string
		want result
	}{
		{"table", []string{"web:" + guest + "/file"}, result{0, expand("path      ${PATH}/file\ntype      file\nmode      4751\nsize      5\nmodified  2001-09-09T01:46:40.000000005Z\nowner     ${UID}:${GID}\ninode     ${INODE}\nlinks     1\n"), ""}},
		{"JSON", []string{"-L", "-o", "json", "web:" + guest + "/link"}, result{0, expand(`{
  "path": "${PATH}/link",
  "type": "file",
  "mode": "4751",
  "size": 5,
  "modified": "2001-09-09T01:46:40.000000005Z",
  "uid": ${UID},
  "gid": ${GID},
  "inode": ${INODE},
  "links": 1
}
`), ""}},
		{"not there", []string{"web:" + guest + "/none"}, result{1, "", "kindling: web:" + guest + "/none does not exist\n"}},
		{"dangling", []string{"-L", "web:" + guest + "/dangling"}, result{1, "", "kindling: web:" + guest + "/dangling does not exist\n"}},
		{"below a file", []string{"web:" + guest + "/file/x"}, result{125, "", "kindling: stat " + guest + "/file/x in guest: lstat " + guest + "/file/x: not a directory\n"}},
		{"no machine", []string{"/etc"}, result{2, "", "kindling: got \"/etc\", want VM:PATH\n"}},
		{"format", []string{"-o", "xml", "web:/"}, result{2, "", "kindling: --output is \"xml\", want table or json\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, kindling(append([]string{"stat"}, test.args...)...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, want := range map[string]string{guest + "/link": "type      link", "/dev/null": "type      character device", "/": "type      folder"} {
		if got := kindling("stat", "web:"+name); !strings.Contains(got.Stdout, want+"\n") {
			t.Errorf("%s: got %+v, want %s", name, got, want)
		}
	}
}
