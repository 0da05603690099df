package fstree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHostFileChanges is about files that do not stay as they are.
func TestHostFileChanges(t *testing.T) {
	body := strings.Repeat("x", 10000)
	tests := []struct {
		name   string
		change func(name string) error
		want   string // in the error
	}{
		{"removed", os.Remove, "no such file or directory"},
		{"shorter", func(name string) error { return os.Truncate(name, 100) }, "changed while it was in use"},
		{"longer", func(name string) error { return os.Truncate(name, 1<<20) }, "changed while it was in use"},
		{"written again", func(name string) error { return os.Chtimes(name, time.Time{}, time.Unix(1, 0)) },
			"changed while it was in use"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for how, data := range map[string][]byte{"file": []byte(body), "layer": tarOf(t, file("a", body))} {
				tree, name := newTree(t), hostFileOf(t, data)
				var err error
				if how == "layer" {
					err = tree.AddFile(name)
				} else {
					err = tree.PlaceFileFrom("a", Meta{}, name)
				}
				if err != nil {
					t.Fatal(err)
				}
				// Other files take the open one's place.
				for i := range keptOpen {
					other := fmt.Sprint(i)
					if err := tree.PlaceFileFrom(other, Meta{}, hostFileOf(t, []byte("b"))); err != nil {
						t.Fatal(err)
					}
					n, err := tree.Lookup(other)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadAll(tree.Open(n)); err != nil {
						t.Fatal(err)
					}
				}
				if err := test.change(name); err != nil {
					t.Fatal(err)
				}
				if err := tree.WriteTar(io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got error %v, want %s", how, err, test.want)
				}
			}
		})
	}
}

func TestHostFileShrinksWhileOpen(t *testing.T) {
	tree, name := newTree(t), hostFileOf(t, make([]byte, 10000))
	if err := tree.PlaceFileFrom("a", Meta{}, name); err != nil {
		t.Fatal(err)
	}
	n, err := tree.Lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	r := tree.Open(n)
	if _, err := r.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// TestHostFilesOfSeveralReaders is about more files than are open, by turns.
func TestHostFilesOfSeveralReaders(t *testing.T) {
	tree := newTree(t)
	for i := range 2 * keptOpen {
		if err := tree.PlaceFileFrom(string(rune('0'+i)), Meta{}, hostFileOf(t, bytes.Repeat([]byte{byte(i)}, 1000))); err != nil {
			t.Fatal(err)
		}
	}
	var readers sync.WaitGroup
	for path, n := range tree.All() {
		readers.Go(func() {
			for range 100 {
				got, err := io.ReadAll(tree.Open(n))
				if want := bytes.Repeat([]byte{path[0] - '0'}, 1000); err != nil || !bytes.Equal(got, want) {
					t.Errorf("content of %s is wrong, error %v", path, err)
					return
				}
			}
		})
	}
	readers.Wait()
}

func TestAddFileRejects(t *testing.T) {
	tree := newTree(t)
	if err := tree.AddFile(t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "is not a regular file") {
		t.Errorf("folder: got error %v", err)
	}
	tree = newTree(t)
	if err := tree.AddFile("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got error %v", err)
	}
}
