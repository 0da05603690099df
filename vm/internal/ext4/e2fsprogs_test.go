//go:build vm

package ext4

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm/internal/ext4/ext4test"
)

func TestWriteEmptyFsck(t *testing.T) {
	for _, size := range append(sizes, 33<<30) {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.ext4")
			if err := WriteEmpty(path, 0o600, size); err != nil {
				t.Fatal(err)
			}
			ext4test.Check(t, path)
			if diff := cmp.Diff([]string{"lost+found"}, ext4test.Names(t, path, "/")); diff != "" {
				t.Errorf("root directory (-want +got):\n%s", diff)
			}
			if got := ext4test.Debugfs(t, path, "logdump"); !strings.Contains(got, "No magic number at block 1: end of journal.") &&
				!strings.Contains(got, "Journal starts at block 0, transaction 1") {
				t.Errorf("journal: %s", got)
			}
		})
	}
}

func TestFromTarReadBack(t *testing.T) {
	modTime := time.Unix(1700000000, 0)
	const hexTime = "6553f100"
	header := func(typ byte, name string, mode int64) tar.Header {
		return tar.Header{Typeflag: typ, Name: name, Mode: mode, ModTime: modTime}
	}
	with := func(h tar.Header, change func(*tar.Header)) entry {
		change(&h)
		return entry{Header: h}
	}
	long := strings.Repeat("n", 255)
	target := "/" + strings.Repeat("t/", 2000) + "end"
	entries := []entry{
		with(header(tar.TypeDir, "./", 0o1711), func(h *tar.Header) { h.Uid, h.Gid = 5, 6 }),
		{Header: header(tar.TypeDir, "d/", 0o2755)},
		{header(tar.TypeReg, "d/suid", 0o4755), "content"},
		with(header(tar.TypeLink, "d/suid2", 0), func(h *tar.Header) { h.Linkname = "d/suid" }),
		with(header(tar.TypeReg, "owner", 0o600), func(h *tar.Header) { h.Uid, h.Gid = 2000000000, 100000 }),
		with(header(tar.TypeSymlink, "short", 0o777), func(h *tar.Header) { h.Linkname = strings.Repeat("s", 59) }),
		with(header(tar.TypeSymlink, "long", 0o777), func(h *tar.Header) { h.Linkname = target }),
		with(header(tar.TypeLink, "long2", 0), func(h *tar.Header) { h.Linkname = "long" }),
		with(header(tar.TypeChar, "null", 0o666), func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }),
		with(header(tar.TypeBlock, "nvme", 0o660), func(h *tar.Header) { h.Devmajor, h.Devminor = 259, 70000 }),
		{Header: header(tar.TypeFifo, "fifo", 0o644)},
		{Header: header(tar.TypeReg, ".wh.kept", 0o644)},
		{header(tar.TypeReg, `back\slash`, 0o644), "b"},
		{header(tar.TypeReg, "new\nline", 0o644), "b"},
		{header(tar.TypeReg, "bad\xffutf8", 0o644), "b"},
		{header(tar.TypeReg, long, 0o644), "b"},
		with(header(tar.TypeReg, "old", 0o644), func(h *tar.Header) { h.ModTime = time.Unix(-1, 0) }),
		with(header(tar.TypeReg, "future", 0o644), func(h *tar.Header) { h.ModTime = time.Unix(1<<33, 0) }),
		with(header(tar.TypeReg, "cap", 0o755), func(h *tar.Header) {
			h.PAXRecords = map[string]string{
				"SCHILY.xattr.security.capability":  "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
				"SCHILY.xattr.user.big":             strings.Repeat("v", 3000),
				"SCHILY.xattr.user.a":               "1",
				"SCHILY.xattr.trusted.zz":           strings.Repeat("t", 100),
				"SCHILY.xattr.com.apple.provenance": "x",
			}
		}),
		with(header(tar.TypeReg, "acl", 0o640), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_access": "\x02\x00\x00\x00" +
				"\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
				"\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"}
		}),
	}
	image := filepath.Join(t.TempDir(), "disk.ext4")
	if err := FromTar(image, 0o600, 0, writeEntries(entries...)); err != nil {
		t.Fatal(err)
	}
	ext4test.Check(t, image)
	want := map[string]ext4test.Stat{
		"/":           {Type: "directory", Mode: "01711", UID: "5", GID: "6", Links: "4", ModTime: hexTime},
		"/d":          {Type: "directory", Mode: "02755", UID: "0", GID: "0", Links: "2", ModTime: hexTime},
		"/d/suid":     {Type: "regular", Mode: "04755", UID: "0", GID: "0", Links: "2", ModTime: hexTime},
		"/d/suid2":    {Type: "regular", Mode: "04755", UID: "0", GID: "0", Links: "2", ModTime: hexTime},
		"/owner":      {Type: "regular", Mode: "0600", UID: "2000000000", GID: "100000", Links: "1", ModTime: hexTime},
		"/short":      {Type: "symlink", Mode: "0777", UID: "0", GID: "0", Links: "1", ModTime: hexTime, Target: strings.Repeat("s", 59)},
		"/long":       {Type: "symlink", Mode: "0777", UID: "0", GID: "0", Links: "2", ModTime: hexTime, Target: target},
		"/long2":      {Type: "symlink", Mode: "0777", UID: "0", GID: "0", Links: "2", ModTime: hexTime, Target: target},
		"/null":       {Type: "character special", Mode: "0666", UID: "0", GID: "0", Links: "1", ModTime: hexTime, Device: "01:03"},
		"/nvme":       {Type: "block special", Mode: "0660", UID: "0", GID: "0", Links: "1", ModTime: hexTime, Device: "259:70000"},
		"/fifo":       {Type: "FIFO", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: hexTime},
		"/.wh.kept":   {Type: "regular", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: hexTime},
		`/back\slash`: {Type: "regular", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: hexTime},
		"/" + long:    {Type: "regular", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: hexTime},
		"/cap": {Type: "regular", Mode: "0755", UID: "0", GID: "0", Links: "1", ModTime: hexTime, Xattrs: "security.capability (20) = 01 00 00 02 00 20" +
			strings.Repeat(" 00", 14) + ` user.a (1) = "1" user.big (3000) trusted.zz (100)`},
		"/acl": {Type: "regular", Mode: "0640", UID: "0", GID: "0", Links: "1", ModTime: hexTime,
			Xattrs: "system.posix_acl_access (28) = 01 00 00 00 01 00 06 00 02 00 06 00 e8 03 00 00 04 00 04 00 10 00 06 00 20 00 00 00"},
		"/old":    {Type: "regular", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: "00000000"},
		"/future": {Type: "regular", Mode: "0644", UID: "0", GID: "0", Links: "1", ModTime: "7fffffff"},
	}
	got := map[string]ext4test.Stat{}
	for path := range want {
		got[path] = ext4test.StatFile(t, image, path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := ext4test.Debugfs(t, image, "cat /d/suid2"); got != "content" {
		t.Errorf("content of the hard link is %q", got)
	}
}

// TestFromTarManyFiles fills directories over several blocks, inode tables over
// several block groups, and a file over more extents than an inode holds.
func TestFromTarManyFiles(t *testing.T) {
	const files, size = 33000, 516 << 20
	image := filepath.Join(t.TempDir(), "disk.ext4")
	err := FromTar(image, 0o600, 0, func(w io.Writer) error {
		archive := tar.NewWriter(w)
		for i := range files {
			content := strconv.Itoa(i)
			header := &tar.Header{Typeflag: tar.TypeReg, Name: "d/" + content, Mode: 0o644, Size: int64(len(content))}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := io.WriteString(archive, content); err != nil {
				return err
			}
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Mode: 0o644, Size: size}); err != nil {
			return err
		}
		for i := range size / (1 << 20) {
			if _, err := archive.Write(bytes.Repeat([]byte{byte(i)}, 1<<20)); err != nil {
				return err
			}
		}
		return archive.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	ext4test.Check(t, image)
	if got := len(ext4test.Names(t, image, "/d")); got != files {
		t.Errorf("directory has %d files, want %d", got, files)
	}
	if got := ext4test.Debugfs(t, image, "cat /d/32999"); got != "32999" {
		t.Errorf("last file holds %q", got)
	}
	dump := filepath.Join(t.TempDir(), "big")
	ext4test.Debugfs(t, image, "dump /big "+dump)
	f, err := os.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range size / (1 << 20) {
		var b [1]byte
		if _, err := f.ReadAt(b[:], int64(i)<<20); err != nil || b[0] != byte(i) {
			t.Fatalf("big file at %d MiB holds %d, %v, want %d", i, b[0], err, byte(i))
		}
	}
}

// TestFromTarTooManyDirectories is about EXT4_LINK_MAX: the converter does not
// set the dir_nlink feature.
func TestFromTarTooManyDirectories(t *testing.T) {
	var entries []entry
	for i := range 65000 {
		entries = append(entries, entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("d/%d/", i), Mode: 0o755}})
	}
	err := FromTar(filepath.Join(t.TempDir(), "disk.ext4"), 0o600, 0, writeEntries(entries...))
	if err == nil || !strings.Contains(err.Error(), "d/64998/: exceeded parent directory maximum link count") {
		t.Errorf("got error %v, want one that names the directory", err)
	}
}
