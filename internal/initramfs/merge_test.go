package initramfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs/initramfstest"
)

// merged is what Merge makes of an initrd, one line a file: path, mode, size and
// target, segment and number of the entry. Contents stands for digests.
func merged(data []byte, contents ...string) (lines []string, err error) {
	tree, err := Merge(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	for _, file := range tree.Files {
		content := file.SHA256
		for _, text := range contents {
			if fmt.Sprintf("%x", sha256.Sum256([]byte(text))) == file.SHA256 {
				content = text
			}
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%s %o %d %d/%d %s%s", file.Path, file.Mode, file.Size, file.Segment, file.Number, content, file.Target), " "))
	}
	return lines, nil
}

func TestMerge(t *testing.T) {
	tests := []struct {
		name     string
		segments [][]byte
		want     []string
	}{
		{"sorted", [][]byte{initramfstest.Archive(raw{Name: "b", Data: "new"}, raw{Name: "a", Mode: dir}, raw{Name: "a/c", Data: "old"})}, []string{
			"a 40755 0 0/1", "a/c 100644 3 0/2 old", "b 100644 3 0/0 new",
		}},
		{"later overrides", [][]byte{
			initramfstest.Zstd(initramfstest.Archive(raw{Name: "a", Data: "old"}, raw{Name: "b", Data: "old"})),
			initramfstest.Gzip(initramfstest.Archive(raw{Name: "./a", Mode: 0o100755, Data: "newer"})),
			initramfstest.Archive(raw{Name: "/b", Data: "new"}, raw{Name: "b", Data: ""}),
		}, []string{"a 100755 5 1/2 newer", "b 100644 0 2/4"}},
		{"folder again", [][]byte{initramfstest.Archive(raw{Name: "a", Mode: dir}, raw{Name: "a/b"}, raw{Name: "a", Mode: TypeDir | 0o700})}, []string{"a 40700 0 0/2", "a/b 100644 0 0/1"}},
		{"the root", [][]byte{initramfstest.Archive(raw{Name: ".", Mode: TypeDir | 0o700})}, []string{". 40700 0 0/0"}},
		{"what the kernel has", [][]byte{initramfstest.Archive(
			raw{Name: "dev/console", Mode: TypeCharDevice | 0o600, RdevMajor: 5, RdevMinor: 1}, raw{Name: "dev/null", Mode: TypeCharDevice | 0o666, RdevMajor: 1, RdevMinor: 3}, raw{Name: "root/x"},
		)}, []string{"dev/console 20600 0 0/0", "dev/null 20666 0 0/1", "root/x 100644 0 0/2"}},
		{"link in the place of a file", [][]byte{initramfstest.Archive(raw{Name: "a", Data: "old"}, raw{Name: "a", Mode: symlink, Data: "b"})}, []string{"a 120777 1 0/1 b"}},
		{"file in the place of a link", [][]byte{initramfstest.Archive(raw{Name: "b"}, raw{Name: "a", Mode: symlink, Data: "b"}, raw{Name: "a", Data: "new"})}, []string{"a 100644 3 0/2 new", "b 100644 0 0/0"}},
		{"file in the place of an empty folder", [][]byte{initramfstest.Archive(
			raw{Name: "a", Mode: dir}, raw{Name: "a/b", Mode: dir}, raw{Name: "a/b", Mode: symlink, Data: "x"}, raw{Name: "c", Mode: dir}, raw{Name: "c", Data: "new"},
		)}, []string{"a 40755 0 0/0", "a/b 120777 1 0/2 x", "c 100644 3 0/4 new"}},
		{"through links", [][]byte{initramfstest.Archive(
			raw{Name: "usr", Mode: dir}, raw{Name: "usr/lib", Mode: dir}, raw{Name: "lib", Mode: symlink, Data: "usr/./lib"}, raw{Name: "usr/up", Mode: symlink, Data: "../lib/"},
			raw{Name: "lib/a", Data: "old"}, raw{Name: "usr/up/b"}, raw{Name: "root/l", Mode: symlink, Data: "/lib"}, raw{Name: "root/l/../c"},
		)}, []string{
			"lib 120777 9 0/2 usr/./lib", "root/l 120777 4 0/6 /lib", "usr 40755 0 0/0", "usr/c 100644 0 0/7", "usr/lib 40755 0 0/1",
			"usr/lib/a 100644 3 0/4 old", "usr/lib/b 100644 0 0/5", "usr/up 120777 7 0/3 ../lib/",
		}},
		{"above the root", [][]byte{initramfstest.Archive(raw{Name: "../../a"})}, []string{"a 100644 0 0/0"}},

		{"hard link, data with the last", [][]byte{initramfstest.Archive(raw{Name: "a", Inode: 1, Nlink: 2}, raw{Name: "b", Inode: 1, Nlink: 2, Data: "new"})}, []string{
			"a 100644 3 0/1 new", "b 100644 3 0/1 new",
		}},
		{"hard link, data with the first", [][]byte{initramfstest.Archive(raw{Name: "a", Inode: 1, Nlink: 2, Data: "new"}, raw{Name: "b", Inode: 1, Nlink: 2, Mode: 0o100755})}, []string{
			"a 100755 3 0/0 new", "b 100755 3 0/0 new",
		}},
		{"hard link over a trailer is none", [][]byte{
			initramfstest.Archive(raw{Name: "a", Inode: 1, Nlink: 2, Data: "old"}), initramfstest.Archive(raw{Name: "b", Inode: 1, Nlink: 2, Data: "new"}),
		}, []string{"a 100644 3 0/0 old", "b 100644 3 1/1 new"}},
		{"inode with one name is no link", [][]byte{initramfstest.Archive(raw{Name: "a", Inode: 1, Data: "old"}, raw{Name: "b", Inode: 1, Data: "new"})}, []string{
			"a 100644 3 0/0 old", "b 100644 3 0/1 new",
		}},
		{"override changes all names", [][]byte{initramfstest.Archive(raw{Name: "a", Inode: 1, Nlink: 2}, raw{Name: "b", Inode: 1, Nlink: 2, Data: "old"}), initramfstest.Archive(raw{Name: "a", Data: "newer"})}, []string{
			"a 100644 5 1/2 newer", "b 100644 5 1/2 newer",
		}},
		{"devices linked", [][]byte{initramfstest.Archive(
			raw{Name: "a", Mode: TypeBlockDevice | 0o600, RdevMajor: 8, Inode: 1, Nlink: 2}, raw{Name: "b", Mode: TypeBlockDevice | 0o600, RdevMajor: 8, Inode: 1, Nlink: 2},
		)}, []string{"a 60600 0 0/0", "b 60600 0 0/0"}},
	}
	for _, test := range tests {
		var initrd []byte
		for _, segment := range test.segments {
			initrd = append(initramfstest.Align(initrd), segment...)
		}
		got, err := merged(initrd, "old", "new", "newer")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], fmt.Sprintf(" %x", sha256.Sum256(nil)))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestMergeRejects(t *testing.T) {
	tests := []struct {
		name    string
		entries []raw
		want    string // behind "read segment 0: entry "
	}{
		{"no folder", []raw{{Name: "a/b"}}, `"a/b" at 0: folder "a" does not exist: the kernel would skip it`},
		{"folder later", []raw{{Name: "a/b"}, {Name: "a", Mode: dir}}, `"a/b" at 0: folder "a" does not exist: the kernel would skip it`},
		{"below a file", []raw{{Name: "a"}, {Name: "a/b"}}, `"a/b" at 112: "a" is no folder: the kernel would skip it`},
		{"below a link to nothing", []raw{{Name: "a", Mode: symlink, Data: "c"}, {Name: "a/b"}}, `"a/b" at 116: folder "c" does not exist: the kernel would skip it`},
		{"links in a circle", []raw{{Name: "a", Mode: symlink, Data: "a"}, {Name: "a/b"}}, `"a/b" at 116: more than 40 symbolic links in a path: the kernel would skip it`},
		{"file in the place of a folder", []raw{{Name: "a", Mode: dir}, {Name: "a/b"}, {Name: "a"}}, `"a" at 228: it is in the place of a folder that is not empty: the kernel would skip it`},
		{"file in the place of the root", []raw{{Name: "."}}, `"." at 0: it is in the place of a folder that is not empty: the kernel would skip it`},
		{"link to itself", []raw{{Name: "a", Inode: 1, Nlink: 2}, {Name: "./a", Inode: 1, Nlink: 2}}, `"./a" at 112: it is a hard link to "a", which is no longer there: the kernel would skip it`},
		{"link to what changed", []raw{{Name: "a", Inode: 1, Nlink: 2}, {Name: "a", Mode: dir}, {Name: "b", Inode: 1, Nlink: 2}}, `"b" at 224: it is a hard link to "a", which is no longer there: the kernel would skip it`},
		{"another device", []raw{{Name: "dev/console", Mode: TypeCharDevice | 0o600, RdevMajor: 4}}, `"dev/console" at 0: device is there as 5:1: the kernel would not change it`},
	}
	for _, test := range tests {
		got, err := merged(initramfstest.Archive(test.entries...))
		if want := "read segment 0: entry " + test.want; err == nil || err.Error() != want {
			t.Errorf("%s: got %q, error %v, want %s", test.name, got, err, want)
		}
	}
	if _, err := merged([]byte("garbage")); err == nil || !strings.HasPrefix(err.Error(), "read segment 0 at 0: magic 6761 ") {
		t.Errorf("garbage: got error %v", err)
	}
}

func TestLookup(t *testing.T) {
	data := initramfstest.Archive(
		raw{Name: "usr", Mode: dir}, raw{Name: "usr/bin", Mode: dir}, raw{Name: "usr/bin/busybox"},
		raw{Name: "bin", Mode: symlink, Data: "usr/bin"}, raw{Name: "usr/bin/sh", Mode: symlink, Data: "/bin/./busybox"},
		raw{Name: "loop", Mode: symlink, Data: "loop"}, raw{Name: "gone", Mode: symlink, Data: "nothing"},
	)
	tree, err := Merge(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, want, wantErr string }{
		{"usr/bin/busybox", "usr/bin/busybox", ""},
		{"/bin/sh", "usr/bin/busybox", ""},
		{"bin", "usr/bin", ""},
		{"bin/../..", "", `find "bin/../..": "." does not exist`},
		{"none", "", `find "none": "none" does not exist`},
		{"none/x", "", `find "none/x": folder "none" does not exist`},
		{"bin/sh/x", "", `find "bin/sh/x": "usr/bin/busybox" is no folder`},
		{"gone", "", `find "gone": "nothing" does not exist`},
		{"loop", "", `find "loop": more than 40 symbolic links in a path`},
		{"dev/console", "", `find "dev/console": "dev/console" does not exist`},
	}
	for _, test := range tests {
		file, err := tree.Lookup(test.name)
		if file.Path != test.want || (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got %q, error %v, want %q, error %q", test.name, file.Path, err, test.want, test.wantErr)
		}
	}
}
