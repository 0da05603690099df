//go:build vm

package rootfs

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/vm/internal/ext4/ext4test"
)

// TestAgainstMkfs compares the disks of benign layers with those that mkfs.ext4
// makes of a folder to which GNU tar extracted them, with whiteouts applied by
// hand. Who may make files of others has such files and devices compared as
// well; vm/internal/ext4 reads those back for everybody.
func TestAgainstMkfs(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	entry := func(typeflag byte, name string, mode int64, change ...func(*tar.Header)) tar.Header {
		h := tar.Header{Format: tar.FormatPAX, Typeflag: typeflag, Name: name, Mode: mode, ModTime: at, Uid: os.Getuid(), Gid: os.Getgid()}
		for _, f := range change {
			f(&h)
		}
		return h
	}
	to := func(target string) func(*tar.Header) { return func(h *tar.Header) { h.Linkname = target } }
	xattr := func(name, value string) func(*tar.Header) {
		return func(h *tar.Header) {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
	}
	system := []tar.Header{
		entry(tar.TypeDir, "usr/", 0o755), entry(tar.TypeDir, "usr/bin/", 0o755), entry(tar.TypeDir, "etc/", 0o711),
		entry(tar.TypeDir, "tmp/", 0o1777), entry(tar.TypeDir, "var/", 0o2755), entry(tar.TypeDir, "var/cache/", 0o755),
		entry(tar.TypeSymlink, "bin", 0o777, to("usr/bin")), entry(tar.TypeSymlink, "slow", 0o777, to("/"+strings.Repeat("long/", 100))),
		entry(tar.TypeSymlink, "sixty", 0o777, to(strings.Repeat("s", 60))),
		entry(tar.TypeReg, "usr/bin/sh", 0o4755), entry(tar.TypeLink, "usr/bin/ash", 0, to("usr/bin/sh")),
		entry(tar.TypeReg, "etc/passwd", 0o644), entry(tar.TypeReg, "etc/shadow", 0o644),
		entry(tar.TypeReg, "var/cache/a", 0o644), entry(tar.TypeReg, "var/cache/b", 0o664),
		entry(tar.TypeFifo, "fifo", 0o644),
		entry(tar.TypeReg, "one", 0o644, xattr("user.a", "1")),
		entry(tar.TypeReg, "many", 0o644, xattr("user.a", "1"), xattr("user.longer", strings.Repeat("v", 1000)), xattr("user.b", "22")),
		entry(tar.TypeDir, "marked/", 0o755, xattr("user.dir", "x")),
	}
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Lchown(probe, 1000, 70000) == nil {
		owned := func(h *tar.Header) { h.Uid, h.Gid = 1000, 70000 }
		system = append(system, entry(tar.TypeReg, "owned", 0o6755, owned), entry(tar.TypeSymlink, "ownedlink", 0o777, owned, to("x")),
			entry(tar.TypeChar, "null", 0o666, owned, func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }),
			entry(tar.TypeBlock, "disk", 0o660, owned, func(h *tar.Header) { h.Devmajor, h.Devminor = 259, 300 }),
			entry(tar.TypeReg, "trusted", 0o644, xattr("trusted.t", "v")))
	}
	whiteout := func(name string) tar.Header { return entry(tar.TypeReg, name, 0o644) }
	tests := []struct {
		name   string
		layers [][]tar.Header
	}{
		{"one layer", [][]tar.Header{system}},
		{"replaced, and behind a link", [][]tar.Header{system,
			{entry(tar.TypeReg, "etc/passwd", 0o664), entry(tar.TypeReg, "bin/tool", 0o755), entry(tar.TypeSymlink, "one", 0o777, to("etc"))}}},
		{"hard link to a lower layer", [][]tar.Header{system, {entry(tar.TypeLink, "bin/dash", 0, to("usr/bin/sh"))}}},
		{"one of two names replaced", [][]tar.Header{system, {entry(tar.TypeReg, "usr/bin/ash", 0o755)}}},
		{"whiteouts", [][]tar.Header{system, {whiteout("etc/.wh.shadow"), whiteout("bin/.wh.ash"), whiteout(".wh.tmp")}}},
		{"opaque", [][]tar.Header{system,
			{whiteout("var/cache/.wh..wh..opq"), entry(tar.TypeReg, "var/cache/c", 0o644), whiteout("etc/.wh.passwd")},
			{entry(tar.TypeReg, "etc/passwd", 0o644)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "folder")
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			var layers []v1.Layer
			for _, headers := range test.layers {
				layer := newLayer(t, headers...)
				for _, header := range headers {
					hide(t, folder, header.Name)
				}
				extractLayer(t, folder, layer)
				layers = append(layers, layer)
			}
			ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
			if err := WriteDisk(t.Context(), ours, layers, nil); err != nil {
				t.Fatal(err)
			}
			run(t, nil, "mkfs.ext4", "-q", "-b", "4096", "-d", folder, theirs, "16M")
			ext4test.Check(t, ours)
			if diff := cmp.Diff(listDisk(t, theirs), listDisk(t, ours)); diff != "" {
				t.Errorf("disk (-mkfs +kindling):\n%s", diff)
			}
		})
	}
}

// hide removes what a whiteout of that name hides.
func hide(t *testing.T, folder, name string) {
	t.Helper()
	hidden, ok := strings.CutPrefix(path.Base(name), ".wh.")
	if !ok {
		return
	}
	names := []string{filepath.Join(folder, path.Dir(name), hidden)}
	if hidden == ".wh..opq" {
		var err error
		if names, err = filepath.Glob(filepath.Join(folder, path.Dir(name), "*")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
}

func extractLayer(t *testing.T, folder string, layer v1.Layer) {
	t.Helper()
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	run(t, content, "tar", "--extract", "--file=-", "--directory="+folder, "--preserve-permissions",
		"--xattrs", "--xattrs-include=*", "--exclude=.wh.*")
	if err := content.Close(); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, stdin io.Reader, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = stdin
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// listed is what a disk has under a name.
type listed struct {
	ext4test.Stat
	Content string
}

// listDisk lists all of a disk but the root itself and lost+found. Directories
// have no time, since making files in them changes it.
func listDisk(t *testing.T, disk string) map[string]listed {
	t.Helper()
	all := map[string]listed{}
	var list func(dir string)
	list = func(dir string) {
		for _, name := range ext4test.Names(t, disk, dir) {
			name = path.Join(dir, name)
			if name == "/lost+found" {
				continue
			}
			l := listed{Stat: ext4test.StatFile(t, disk, name)}
			switch l.Type {
			case "directory":
				l.ModTime = ""
				list(name)
			case "regular":
				l.Content = ext4test.Debugfs(t, disk, "cat "+name)
			case "":
				t.Error(errors.New(name + " has no type"))
			}
			all[name] = l
		}
	}
	list("/")
	return all
}
