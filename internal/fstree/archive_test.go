package fstree

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// paxHeader is an extended header with records, which name the entry behind it.
func paxHeader(records ...string) []byte {
	body := ""
	for _, record := range records {
		record = " " + record + "\n"
		size := len(record) + 2 // all of them have two digits
		body += fmt.Sprint(size) + record
	}
	block := rawHeader(func(b []byte) {
		b[156] = 'x'
		copy(b[124:], fmt.Sprintf("%011o\x00", len(body)))
	})
	return append(block, (body + strings.Repeat("\x00", 512-len(body)))...)
}

// TestArchives is about bytes that archive/tar does not write.
func TestArchives(t *testing.T) {
	whole := tarOf(t, file("first", ""), file("second", strings.Repeat("x", 2000)))
	ofSize := func(field string) []byte { return rawHeader(func(b []byte) { copy(b[124:], field) }) }
	gnuSparse := rawHeader(func(b []byte) {
		b[156] = 'S'
		copy(b[257:], "ustar  \x00")
		copy(b[483:], "00000000000\x00") // real size
	})
	paxSparse := concat(paxHeader("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=sparse", "GNU.sparse.realsize=0"),
		ofSize(fmt.Sprintf("%011o\x00", 512)), []byte("0\n"), make([]byte, 510))
	first, second := `first file 0644 ""`, fmt.Sprintf("second file 0644 %q", strings.Repeat("x", 2000))
	tests := []struct {
		name string
		data []byte
		want []string
		err  string
	}{
		{name: "padded to a record", data: append(bytes.Clone(whole), make([]byte, 10240-len(whole))...),
			want: []string{first, second}},
		{name: "without the end of the archive", data: whole[:512], want: []string{first}},
		{name: "nothing at all", data: nil},
		{name: "old archive without a magic", data: rawHeader(func(b []byte) { clear(b[257:265]) }),
			want: []string{`name file 0644 ""`}},
		{name: "PAX path", data: concat(paxHeader("path=other"), ofSize("00000000000\x00")),
			want: []string{`other file 0644 ""`}},

		{name: "no tar", data: bytes.Repeat([]byte("x"), 1024), err: "read tar: archive/tar: invalid tar header"},
		{name: "truncated in a header", data: whole[:600], err: `read tar behind "first": unexpected EOF`},
		{name: "truncated in a body", data: whole[:2048], err: `apply "second": copy content: unexpected EOF`},
		{name: "truncated behind a PAX header", data: paxHeader("path=other")[:520], err: "read tar: unexpected EOF"},
		{name: "broken header", data: append(whole[:512:512], bytes.Repeat([]byte("x"), 512)...),
			err: `read tar behind "first": archive/tar: invalid tar header`},
		{name: "name with NUL", data: concat(paxHeader("path=a\x00b/c"), ofSize("00000000000\x00")),
			err: "read tar: archive/tar: invalid tar header"},
		{name: "PAX path ../x", data: concat(paxHeader("path=aa/../../x"), ofSize("00000000000\x00")),
			err: `apply "aa/../../x": name contains ".."`},
		{name: "negative size", data: ofSize(strings.Repeat("\xff", 12)), err: "read tar: archive/tar: invalid tar header"},
		{name: "negative size in PAX", data: concat(paxHeader("size=-000001"), ofSize("00000000000\x00")),
			err: "read tar: archive/tar: invalid tar header"},
		{name: "huge size", data: ofSize("77777777777\x00"), err: `apply "name": copy content: unexpected EOF`},
		{name: "size over the limit", data: ofSize("\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01"),
			err: `apply "name": file bytes: 8589934593 is more than 8589934592: limit exceeded`},
		{name: "size of 2^63-1", data: ofSize("\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"),
			err: `apply "name": file bytes: 9223372036854775807 is more than 8589934592: limit exceeded`},
		{name: "size over 2^63", data: ofSize("\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
			err: "read tar: archive/tar: invalid tar header"},
		{name: "sparse file of GNU tar", data: append(gnuSparse, make([]byte, 1024)...),
			err: `apply "name": sparse file is not supported`},
		{name: "sparse file of PAX", data: paxSparse, err: `apply "sparse": sparse file is not supported`},
		{name: "data behind the end", data: append(bytes.Clone(whole), 0, 0, 'x'),
			err: "read tar: data behind the end of the archive"},
		{name: "second archive behind the end", data: concat(whole, whole), err: "read tar: data behind the end of the archive"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			checkArchive(t, tree, tree.AddTar(bytes.NewReader(test.data)), test.want, test.err)
		})
		t.Run(test.name+" in a file", func(t *testing.T) {
			tree := newTree(t)
			// A file says before it is read that it is too short.
			wantErr := strings.ReplaceAll(test.err, "copy content", "find content")
			checkArchive(t, tree, tree.AddFile(hostFileOf(t, test.data)), test.want, wantErr)
		})
	}
}

func checkArchive(t *testing.T, tree *Tree, err error, want []string, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || err.Error() != wantErr {
			t.Fatalf("got error %v\nwant %s", err, wantErr)
		}
		checkUnusable(t, tree, err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, describe(t, tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}
