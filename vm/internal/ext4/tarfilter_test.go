package ext4

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTarFilterRejects(t *testing.T) {
	manyXattrs := map[string]string{}
	for i := range maxXattrs + 1 {
		manyXattrs[fmt.Sprintf("SCHILY.xattr.user.%d", i)] = "x"
	}
	xattr := func(name, value string) map[string]string {
		return map[string]string{"SCHILY.xattr." + name: value}
	}
	tests := []struct {
		name   string
		header tar.Header
		want   string
	}{
		{"large file", tar.Header{Typeflag: tar.TypeReg, Size: maxFileSize + 1}, `store "n": size 34359738369, want at most 34359738368`},
		{"long target", tar.Header{Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("l", 4096)}, `store "n": symbolic link target of 4096 bytes, want 1 to 4095`},
		{"no target", tar.Header{Typeflag: tar.TypeSymlink}, `store "n": symbolic link target of 0 bytes, want 1 to 4095`},
		{"major", tar.Header{Typeflag: tar.TypeChar, Devmajor: 4096}, `store "n": device number 4096:0, want at most 4095:1048575`},
		{"minor", tar.Header{Typeflag: tar.TypeBlock, Devminor: 1 << 20}, `store "n": device number 0:1048576, want at most 4095:1048575`},
		{"user", tar.Header{Typeflag: tar.TypeReg, Uid: 1 << 32}, `store "n": owner 4294967296:0, want 32-bit numbers`},
		{"group", tar.Header{Typeflag: tar.TypeReg, Gid: -1}, `store "n": owner 0:-1, want 32-bit numbers`},
		{"contiguous file", tar.Header{Typeflag: tar.TypeCont}, `store "n": tar entry of type '7'`},
		{"many attributes", tar.Header{Typeflag: tar.TypeReg, PAXRecords: manyXattrs}, `store "n": 13 extended attributes, want at most 12`},
		{"attribute without a name", tar.Header{Typeflag: tar.TypeReg, PAXRecords: xattr("user.", "x")}, `store "n": extended attribute "user.": want 1 to 255 bytes behind the namespace`},
		{"attribute with a long name", tar.Header{Typeflag: tar.TypeReg, PAXRecords: xattr("user."+strings.Repeat("a", 256), "x")}, `store "n": extended attribute "user.aaa`},
		{"short ACL", tar.Header{Typeflag: tar.TypeReg, PAXRecords: xattr("system.posix_acl_access", "\x02")}, `store "n": extended attribute "system.posix_acl_access": "\x02" is not a POSIX ACL of version 2`},
		{"ACL of another version", tar.Header{Typeflag: tar.TypeReg, PAXRecords: xattr("system.posix_acl_access", "\x01\x00\x00\x00")}, `store "n": extended attribute "system.posix_acl_access": "\x01\x00\x00\x00" is not`},
		{"ACL with half an entry", tar.Header{Typeflag: tar.TypeDir, PAXRecords: xattr("system.posix_acl_default", "\x02\x00\x00\x00\x01\x00\x07\x00")}, `store "n": extended attribute "system.posix_acl_default": "\x02`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.header.Name = "n"
			test.header.Format = tar.FormatPAX
			if test.header.Uid != 0 || test.header.Gid != 0 {
				test.header.Format = tar.FormatGNU // PAX has no negative owners
			}
			var stream bytes.Buffer
			if err := tar.NewWriter(&stream).WriteHeader(&test.header); err != nil {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, newTarFilter(&stream))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

func TestTarFilterKeeps(t *testing.T) {
	acl := "\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" + // owner
		"\x02\x00\x06\x00\xe8\x03\x00\x00" + // user 1000
		"\x20\x00\x04\x00\xff\xff\xff\xff" // others
	in := writeEntries(
		entry{tar.Header{Typeflag: tar.TypeReg, Name: ".wh.a\\b", Mode: 0o4755, Uid: 1<<32 - 1, Gid: 7,
			ModTime: time.Unix(1700000000, 123456789), AccessTime: time.Unix(1, 0), ChangeTime: time.Unix(2, 0),
			PAXRecords: map[string]string{
				"SCHILY.xattr.security.capability":     "\x01\x00\x00\x02",
				"SCHILY.xattr.user.a":                  "1",
				"SCHILY.xattr.com.apple.provenance":    "x",
				"SCHILY.xattr.system.nfs4_acl":         "x",
				"SCHILY.xattr.system.posix_acl_access": acl,
			}}, strings.Repeat("content", 100000)},
		entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "before/", ModTime: time.Unix(-1, 0)}},
		entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "behind/", ModTime: time.Unix(1<<31, 1)}},
		entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev", Devmajor: 4095, Devminor: 1<<20 - 1}},
	)
	var stream bytes.Buffer
	if err := in(&stream); err != nil {
		t.Fatal(err)
	}
	type got struct {
		Name, Content string
		Type          byte
		Mode          int64
		Uid, Gid      int
		Major, Minor  int64
		ModTime       time.Time
		Xattrs        map[string]string
	}
	want := []got{
		{Name: ".wh.a\\b", Content: strings.Repeat("content", 100000), Type: tar.TypeReg, Mode: 0o4755, Uid: 1<<32 - 1, Gid: 7,
			ModTime: time.Unix(1700000000, 123456789), Xattrs: map[string]string{
				"security.capability": "\x01\x00\x00\x02", "user.a": "1",
				"system.posix_acl_access": "\x01\x00\x00\x00" + "\x01\x00\x07\x00" + "\x02\x00\x06\x00\xe8\x03\x00\x00" + "\x20\x00\x04\x00",
			}},
		{Name: "before/", Type: tar.TypeDir, ModTime: time.Unix(0, 0)},
		{Name: "behind/", Type: tar.TypeDir, ModTime: time.Unix(1<<31-1, 0)},
		{Name: "dev", Type: tar.TypeChar, Major: 4095, Minor: 1<<20 - 1, ModTime: time.Unix(0, 0)},
	}
	var all []got
	archive := tar.NewReader(newTarFilter(&stream))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			t.Errorf("%s: got access time %v, change time %v, want none", h.Name, h.AccessTime, h.ChangeTime)
		}
		g := got{h.Name, string(content), h.Typeflag, h.Mode, h.Uid, h.Gid, h.Devmajor, h.Devminor, h.ModTime, nil}
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, xattrRecord); ok {
				if g.Xattrs == nil {
					g.Xattrs = map[string]string{}
				}
				g.Xattrs[name] = value
			}
		}
		all = append(all, g)
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
