package fstree

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzAddTar applies two layers of any bytes. Whatever is accepted must be a
// tree without names that lead out of it, and the same again when it is written
// and read. A layer in a file must be as good and give the same.
func FuzzAddTar(f *testing.F) {
	for _, c := range allCases() {
		var seeds [2][]byte
		for i, entries := range c.layers[:min(len(c.layers), 2)] {
			seeds[i] = tarOf(f, entries...)
		}
		if len(seeds[0]) < 8<<10 {
			f.Add(seeds[0], seeds[1])
		}
	}
	f.Add(gzipOf(f, tarOf(f, file("a", ""))), zstdOf(f, tarOf(f, file("b", ""))))
	f.Add([]byte{0x1f, 0x8b}, binary.LittleEndian.AppendUint32(nil, 0x184D2A50))
	f.Add(concat(paxHeader("path=aa/../../x"), rawHeader(func([]byte) {})), concat(paxHeader("SCHILY.xattr.user.a=b"), rawHeader(func([]byte) {})))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tree, fileTree := newTree(t), newTree(t)
		for _, l := range []*Limits{&tree.Limits, &fileTree.Limits} {
			l.TotalBytes, l.Entries = 1<<20, 1000
		}
		for _, layer := range [][]byte{lower, upper} {
			err := tree.AddBlob(bytes.NewReader(layer))
			fileErr := fileTree.AddFile(hostFileOf(t, layer))
			if (err == nil) != (fileErr == nil) {
				t.Fatalf("AddBlob: %v\nAddFile: %v", err, fileErr)
			}
			if err != nil {
				checkUnusable(t, tree, err)
				checkUnusable(t, fileTree, fileErr)
				return
			}
			checkConsistent(t, tree)
		}
		if diff := cmp.Diff(describe(t, tree), describe(t, fileTree)); diff != "" {
			t.Errorf("tree (-AddBlob +AddFile):\n%s", diff)
		}
		var buf bytes.Buffer
		if err := tree.WriteTar(&buf); err != nil {
			t.Fatal(err)
		}
		again := newTree(t)
		if err := again.AddTar(&buf); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describe(t, tree), describe(t, again)); diff != "" {
			t.Errorf("tree (-written +read):\n%s", diff)
		}
	})
}
