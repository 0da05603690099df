package fstree

import (
	"archive/tar"
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestLimits(t *testing.T) {
	zeros := make([]byte, 8<<20)
	bomb := tarOf(t, file("zeros", string(zeros)))
	packed := gzipOf(t, bomb)
	many := make([]entry, 10)
	for i := range many {
		many[i] = file(strings.Repeat("x", i+1), "body")
	}
	manyTar := tarOf(t, many...)
	attributes := tarOf(t, entry{Header: tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("v", 1000)}}})
	tests := []struct {
		name   string
		limits func(l *Limits)
		blob   []byte
		want   string // "" is no error
	}{
		{"defaults", func(*Limits) {}, packed, ""},
		{"ratio of gzip", func(l *Limits) { l.RatioFreeBytes = 1 << 20 }, packed, "uncompressed bytes"},
		{"ratio of zstd", func(l *Limits) { l.RatioFreeBytes = 1 << 20 }, zstdOf(t, bomb), "uncompressed bytes"},
		{"no ratio of plain tar", func(l *Limits) { l.RatioFreeBytes, l.Ratio = 0, 1 }, bomb, ""},
		{"total bytes", func(l *Limits) { l.TotalBytes = 1 << 20 }, packed, "total bytes"},
		{"total bytes of plain tar", func(l *Limits) { l.TotalBytes = 1 << 20 }, bomb, "total bytes"},
		{"total bytes of plain tar, just", func(l *Limits) { l.TotalBytes = int64(len(bomb)) }, bomb, ""},
		{"file bytes of plain tar", func(l *Limits) { l.FileBytes = 8<<20 - 1 }, bomb, "file bytes: 8388608 is more than 8388607"},
		{"total bytes, just", func(l *Limits) { l.TotalBytes = int64(len(bomb)) }, packed, ""},
		{"file bytes", func(l *Limits) { l.FileBytes = 8<<20 - 1 }, packed, "file bytes: 8388608 is more than 8388607"},
		{"file bytes, just", func(l *Limits) { l.FileBytes = 8 << 20 }, packed, ""},
		{"entries", func(l *Limits) { l.Entries = 9 }, manyTar, "entries: 10 is more than 9"},
		{"entries, just", func(l *Limits) { l.Entries = 10 }, manyTar, ""},
		{"entries, with whiteouts", func(l *Limits) { l.Entries = 2 },
			tarOf(t, file(".wh.a", ""), file(".wh.b", ""), file(".wh.c", "")), "entries: 3 is more than 2"},
		{"entries, with missing directories", func(l *Limits) { l.Entries = 3 }, tarOf(t, file("a/b/c/d", "")),
			"entries: 4 is more than 3"},
		{"entries, with replaced ones", func(l *Limits) { l.Entries = 2 },
			tarOf(t, file("a", ""), file("a", ""), file("a", "")), "entries: 3 is more than 2"},
		{"names", func(l *Limits) { l.MetaBytes = 54 }, manyTar, "bytes of names and attributes: 55 is more than 54"},
		{"names, just", func(l *Limits) { l.MetaBytes = 55 }, manyTar, ""},
		{"attributes", func(l *Limits) { l.MetaBytes = 1000 }, attributes,
			"bytes of names and attributes: 1006 is more than 1000"},
		{"path", func(l *Limits) { l.PathBytes = 9 }, manyTar, "path bytes: 10 is more than 9"},
		{"name", func(l *Limits) { l.NameBytes = 9 }, manyTar, "name bytes: 10 is more than 9"},
	}
	for _, test := range tests {
		for how, add := range map[string]func(*Tree) error{
			"":           func(tree *Tree) error { return tree.AddBlob(bytes.NewReader(test.blob)) },
			" in a file": func(tree *Tree) error { return tree.AddFile(hostFileOf(t, test.blob)) },
		} {
			t.Run(test.name+how, func(t *testing.T) {
				tree := newTree(t)
				test.limits(&tree.Limits)
				err := add(tree)
				if test.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want %s", err, test.want)
				}
			})
		}
	}
	// The limits are those of all layers together.
	tree := newTree(t)
	tree.Limits.TotalBytes = int64(len(manyTar)) * 5 / 2
	for i := range 3 {
		err := tree.AddTar(bytes.NewReader(manyTar))
		if wantErr := i == 2; errors.Is(err, ErrLimit) != wantErr {
			t.Errorf("layer %d: got error %v", i, err)
		}
	}
}

// TestLimitsOfPlacedFiles is about entries and bytes that a builder brings in.
func TestLimitsOfPlacedFiles(t *testing.T) {
	tree := newTree(t)
	tree.Limits.Entries, tree.Limits.TotalBytes = 3, 10
	if err := tree.PlaceFile("a/b/c", Meta{}, strings.NewReader("12345678"), 8); err != nil {
		t.Fatal(err)
	}
	if err := tree.PlaceFile("d", Meta{}, strings.NewReader(""), 0); !errors.Is(err, ErrLimit) {
		t.Errorf("fourth entry: got error %v, want %v", err, ErrLimit)
	}
	tree.Limits.Entries = 10
	if err := tree.PlaceFile("d", Meta{}, strings.NewReader("123"), 3); !errors.Is(err, ErrLimit) {
		t.Errorf("eleventh byte: got error %v, want %v", err, ErrLimit)
	}
	if err := tree.PlaceFileFrom("e", Meta{}, hostFileOf(t, []byte("123"))); !errors.Is(err, ErrLimit) {
		t.Errorf("eleventh byte of a file: got error %v, want %v", err, ErrLimit)
	}
	tree.Limits.TotalBytes, tree.Limits.FileBytes = 100, 2
	if err := tree.PlaceFileFrom("f", Meta{}, hostFileOf(t, []byte("123"))); !errors.Is(err, ErrLimit) {
		t.Errorf("large file: got error %v, want %v", err, ErrLimit)
	}
}
