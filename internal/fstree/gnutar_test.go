//go:build vm

package fstree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestAgainstTar compares the tree of benign layers with a folder that GNU tar
// extracted them to, with whiteouts applied by hand. Layers that lead out of
// the folder do not belong here: tar would follow.
func TestAgainstTar(t *testing.T) {
	distribution := []entry{
		dir("."), dir("usr"), dir("usr/bin"), dir("usr/lib"), link("bin", "usr/bin"), link("lib", "usr/lib"),
		file("usr/bin/busybox", "program").mode(0o4755), hard("usr/bin/sh", "usr/bin/busybox"), link("usr/bin/ls", "busybox"),
		file("usr/lib/libc.so", "library"), dir("etc"), file("etc/passwd", "root"), link("etc/mtab", "../proc/mounts"),
		dir("tmp").mode(0o1777), dir("var"), dir("var/cache"), file("var/cache/a", "a"), dir("var/cache/sub"), file("var/cache/sub/b", "b"),
		file("odd \n\\\xff name", ""), dir(long), file(long+"file", strings.Repeat("long", 50_000)),
	}
	tests := []struct {
		name   string
		layers layers
	}{
		{"one layer", layers{distribution}},
		{"the same layer again", layers{distribution, distribution}},
		{"files behind links", layers{distribution, {file("bin/tool", "t").mode(0o755), file("lib/libx.so", "x")}}},
		{"hard link to a lower layer", layers{distribution, {hard("usr/bin/ash", "usr/bin/busybox")}, {hard("passwd", "etc/passwd")}}},
		{"file replaced, its other name stays", layers{distribution, {file("usr/bin/busybox", "new").mode(0o755)}}},
		{"last of a name", layers{{file("a", "1"), file("a", "22").mode(0o600)}}},
		{"types replaced", layers{{file("a", "1"), link("b", "a"), dir("c")}, {dir("a"), file("a/x", "2"), file("b", "3"), link("c", "a")}}},
		{"whiteouts", layers{distribution, {file("etc/.wh.passwd", ""), file(".wh.tmp", ""), file("var/.wh.cache", "")}}},
		{"whiteout, then added again", layers{distribution, {file("var/.wh.cache", ""), dir("var/cache").mode(0o700), file("var/cache/new", "n")}}},
		{"opaque", layers{distribution, {dir("var/cache"), file("var/cache/.wh..wh..opq", ""), dir("var/cache/sub"), file("var/cache/sub/c", "c")}}},
		{"opaque behind its entries", layers{distribution, {dir("var/cache"), file("var/cache/new", "n"), file("var/cache/.wh..wh..opq", "")}}},
		{"whiteouts behind links", layers{distribution, {file("lib/.wh.libc.so", ""), file("bin/.wh.ls", "")}}},
		{"whiteout of one of two names", layers{distribution, {file("usr/bin/.wh.busybox", "")}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			if err := test.layers.apply(t, tree); err != nil {
				t.Fatal(err)
			}
			extracted := t.TempDir()
			for _, entries := range test.layers {
				for _, e := range entries {
					if err := removeHidden(extracted, e.Name); err != nil {
						t.Fatal(err)
					}
				}
				extract(t, extracted, tarOf(t, entries...))
			}
			got := listTree(t, tree)
			if diff := cmp.Diff(listFolder(t, extracted), got); diff != "" {
				t.Errorf("layers (-tar +tree):\n%s", diff)
			}
			var written bytes.Buffer
			if err := tree.WriteTar(&written); err != nil {
				t.Fatal(err)
			}
			again := t.TempDir()
			extract(t, again, written.Bytes())
			if diff := cmp.Diff(listFolder(t, again), got); diff != "" {
				t.Errorf("WriteTar (-tar +tree):\n%s", diff)
			}
		})
	}
}

func extract(t *testing.T, folder string, archive []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", "--extract", "--file=-", "--directory="+folder,
		"--preserve-permissions", "--no-same-owner", "--exclude=.wh.*", "--warning=no-timestamp")
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

// removeHidden removes what a whiteout of that name hides.
func removeHidden(folder, name string) error {
	hidden, ok := strings.CutPrefix(path.Base(name), whiteoutPrefix)
	if !ok {
		return nil
	}
	parent := filepath.Join(folder, path.Dir(name))
	if path.Base(name) != opaqueWhiteout {
		return os.RemoveAll(filepath.Join(parent, hidden))
	}
	entries, err := os.ReadDir(parent)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(parent, entry.Name())))
	}
	return err
}

// listed is what both sides say of a name. Directories have no time, since tar
// changes that of those it extracts into.
type listed struct {
	Path, Type, Target, Content string
	Mode                        uint32
	Nlink                       int
	ModTime                     time.Time
}

func listTree(t *testing.T, tree *Tree) []listed {
	t.Helper()
	var all []listed
	for name, n := range tree.All() {
		l := listed{Path: name, Type: n.Type.String(), Target: n.Target, Mode: n.Mode}
		if n.Type == Regular {
			content, err := io.ReadAll(tree.Open(n))
			if err != nil {
				t.Fatal(err)
			}
			l.Content, l.Nlink, l.ModTime = string(content), n.Nlink, n.ModTime.UTC()
		}
		all = append(all, l)
	}
	return all
}

func listFolder(t *testing.T, folder string) []listed {
	t.Helper()
	var all []listed
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == folder {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		l := listed{Path: relative, Mode: stat.Mode & 0o7777}
		switch stat.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			l.Type, l.Content, l.Nlink, l.ModTime = Regular.String(), string(content), int(stat.Nlink), info.ModTime().UTC()
		case syscall.S_IFDIR:
			l.Type = Directory.String()
		case syscall.S_IFLNK:
			l.Type = Symlink.String()
			l.Target, err = os.Readlink(name)
		default:
			err = fmt.Errorf("%s has mode %#o", name, stat.Mode)
		}
		all = append(all, l)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.Path, b.Path) })
	return all
}
