package fstree

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMetadata(t *testing.T) { runCases(t, metadataCases) }

// metadataCases are about types, modes, owners and device numbers.
var metadataCases = []layerCase{
	{name: "setuid, setgid, sticky",
		layers: layers{{file("s", "").mode(0o104755), dir("t").mode(0o1777), dir("g").mode(0o42755)}},
		want:   []string{"g dir 02755", `s file 04755 ""`, "t dir 01777"}},
	{name: "negative mode", layers: layers{{entry{Header: tar.Header{Name: "x", Mode: -1, Format: tar.FormatGNU}}}},
		err: `apply "x": mode -1 is negative`},
	{name: "uid and gid over 2^31",
		layers: layers{{entry{Header: tar.Header{Name: "x", Mode: 0o600, Uid: 1<<31 + 1, Gid: 1<<32 - 2}}}},
		want:   []string{`x file 0600 2147483649:4294967294 ""`}},
	{name: "uid of no file", layers: layers{{entry{Header: tar.Header{Name: "x", Uid: 1<<32 - 1}}}},
		err: `apply "x": uid 4294967295 is out of range`},
	{name: "gid over 2^32", layers: layers{{entry{Header: tar.Header{Name: "x", Gid: 1 << 40}}}},
		err: `apply "x": gid 1099511627776 is out of range`},
	{name: "negative uid", layers: layers{{entry{Header: tar.Header{Name: "x", Uid: -1, Format: tar.FormatGNU}}}},
		err: `apply "x": uid -1 is out of range`},
	{name: "device nodes and FIFO", layers: layers{{
		entry{Header: tar.Header{Name: "c", Typeflag: tar.TypeChar, Mode: 0o620, Gid: 5, Devmajor: 4, Devminor: 64}},
		entry{Header: tar.Header{Name: "b", Typeflag: tar.TypeBlock, Mode: 0o660, Devmajor: 259, Devminor: 3}},
		entry{Header: tar.Header{Name: "p", Typeflag: tar.TypeFifo, Mode: 0o600}}}},
		want: []string{"b block 0660 259,3", "c char 0620 0:5 4,64", "p fifo 0600"}},
	{name: "device number out of range",
		layers: layers{{entry{Header: tar.Header{Name: "x", Typeflag: tar.TypeChar, Devmajor: 4096}}}},
		err:    `apply "x": device number 4096:0 is out of range`},
	{name: "char device 0:0, a whiteout of overlayfs",
		layers: layers{{entry{Header: tar.Header{Name: "x", Typeflag: tar.TypeChar}}}},
		err:    `apply "x": character device 0:0 is a whiteout of overlayfs`},
	{name: "unknown type", layers: layers{{entry{Header: tar.Header{Name: "x", Typeflag: 'Q'}}}},
		err: `apply "x": unknown tar entry type 'Q'`},
	{name: "contiguous file", layers: layers{{entry{Header: tar.Header{Name: "x", Typeflag: tar.TypeCont}}}},
		err: `apply "x": unknown tar entry type '7'`},
	{name: "PAX global header",
		layers: layers{{entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x", "path": "y"}}},
			file("a", "")}}, want: []string{`a file 0644 ""`}},
}

func TestTimesAndAttributes(t *testing.T) {
	tests := []struct {
		name   string
		header tar.Header
		want   Meta
	}{
		{"time before 1970", tar.Header{ModTime: time.Unix(-86400, 5)}, Meta{ModTime: time.Unix(-86400, 5)}},
		{"time after 2038", tar.Header{ModTime: time.Unix(1<<33, 0)}, Meta{ModTime: time.Unix(1<<33, 0)}},
		{"attributes and capabilities",
			tar.Header{ModTime: time.Unix(0, 0), PAXRecords: map[string]string{"SCHILY.xattr.user.b": "2\x00\xff", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}},
			Meta{ModTime: time.Unix(0, 0), Xattrs: map[string]string{"user.b": "2\x00\xff", "security.capability": "\x01\x00\x00\x02"}}},
		{"other PAX records",
			tar.Header{ModTime: time.Unix(0, 0), PAXRecords: map[string]string{"comment": "c", "LIBARCHIVE.xattr.user.b": "Mg==", "KINDLING.unknown": "x"}},
			Meta{ModTime: time.Unix(0, 0)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.header.Name, test.header.Format = "x", tar.FormatPAX
			tree := newTree(t)
			if err := tree.AddTar(bytes.NewReader(tarOf(t, entry{Header: test.header}))); err != nil {
				t.Fatal(err)
			}
			n, err := tree.Lstat("x")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, n.Meta); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
		})
	}
}
