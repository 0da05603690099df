package newc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs"
)

// read reads an archive back as the kernel does, and with a reader that is not
// ours.
func read(t testing.TB, archive []byte) []entry {
	t.Helper()
	var entries []entry
	_, err := initramfs.Walk(bytes.NewReader(archive), int64(len(archive)), func(e *initramfs.Entry, body io.Reader) error {
		content, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		entries = append(entries, entry{Header{Name: e.Name, Mode: e.Mode, UID: e.UID, GID: e.GID,
			Inode: e.Inode, Nlink: e.Nlink, Size: e.Size}, string(content) + e.Target})
		if e.ModTime|e.DevMajor|e.DevMinor|e.RdevMajor|e.RdevMinor != 0 {
			t.Errorf("%s: time or device is not 0: %+v", e.Name, e)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("read archive behind %v: %v", entries, err)
	}
	if diff := cmp.Diff(entries, readCPIO(t, archive), cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("github.com/cavaliergopher/cpio reads something else (-initramfs +cpio):\n%s", diff)
	}
	return entries
}

func readCPIO(t testing.TB, archive []byte) []entry {
	t.Helper()
	var entries []entry
	r := cpio.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatalf("read archive behind %v: %v", entries, err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		e := entry{Header{Name: h.Name, Mode: uint32(h.Mode), UID: uint32(h.Uid), GID: uint32(h.Guid),
			Inode: uint32(h.Inode), Nlink: uint32(h.Links), Size: h.Size}, string(body)}
		if h.Linkname != "" { // the reader takes a link's body for itself
			e.Size, e.body = int64(len(h.Linkname)), h.Linkname
		}
		if h.ModTime.Unix() != 0 || h.DeviceID != 0 || h.Checksum != 0 {
			t.Errorf("%s: time %v, device %d, checksum %d, want 0", h.Name, h.ModTime, h.DeviceID, h.Checksum)
		}
		entries = append(entries, e)
	}
}

// TestNotChecked is what a Writer takes, as it remembers no names, and what the
// kernel makes of it.
func TestNotChecked(t *testing.T) {
	tests := []struct {
		name    string
		entries []entry
		want    map[string]string // contents
		wantErr string            // behind "read segment 0: entry "
	}{
		{"no parent", []entry{regular("a/b", "")}, nil, `"a/b" at 0: folder "a" does not exist: the kernel would skip it`},
		{"parent behind its child", []entry{regular("a/b", ""), {Header{Name: "a", Mode: TypeDir, Nlink: 2}, ""}}, nil,
			`"a/b" at 0: folder "a" does not exist: the kernel would skip it`},
		{"the last of a name", []entry{regular("a", "old"), regular("a", "new")}, map[string]string{"a": "new"}, ""},
		{"hard link, content with the last", []entry{hard("a", ""), hard("b", "new")}, map[string]string{"a": "new", "b": "new"}, ""},
		{"hard link, content with the first", []entry{hard("a", "new"), hard("b", "")}, map[string]string{"a": "new", "b": "new"}, ""},
		{"hard link, content with both", []entry{hard("a", "old"), hard("b", "new")}, map[string]string{"a": "new", "b": "new"}, ""},
		{"hard link with one name", []entry{hard("a", "new")}, map[string]string{"a": "new"}, ""},
	}
	for _, test := range tests {
		var buf bytes.Buffer
		if err := write(NewWriter(&buf), test.entries...); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		tree, err := initramfs.Merge(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		if test.wantErr != "" {
			if want := "read segment 0: entry " + test.wantErr; err == nil || err.Error() != want {
				t.Errorf("%s: got error %v, want %s", test.name, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got, want := map[string]string{}, map[string]string{}
		for _, file := range tree.Files {
			got[file.Path] = file.SHA256
		}
		for name, content := range test.want {
			want[name] = fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func regular(name, body string) entry {
	return entry{Header{Name: name, Mode: TypeRegular | 0o644, Nlink: 1, Size: int64(len(body))}, body}
}

// hard is one of two names of a file.
func hard(name, body string) entry {
	e := regular(name, body)
	e.Inode, e.Nlink = 77, 2
	return e
}
