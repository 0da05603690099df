//go:build vm

package kerneltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/internal/initramfs/initramfstest"
	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// file is what writer, reader and kernel say of a path.
type file struct {
	Mode     string // type and permissions, octal
	UID, GID uint32
	Content  string // digest of a regular file's content if it has some, or a symbolic link's target
	Links    string // all names of a file that has several, quoted
}

// builtin is what the kernel has without an initrd: usr/default_cpio_list, on a
// tmpfs, whose root all may write to (mm/shmem.c, shmem_init_fs_context).
func builtin() map[string]file {
	return map[string]file{
		".":           {Mode: "41777"},
		"dev":         {Mode: "40755"},
		"dev/console": {Mode: "20600"},
		"root":        {Mode: "40700"},
	}
}

// TestKernel boots one machine. Its initrd is archives over one another, and
// behind them, in one that the writer did not make, what the writer refuses and
// what the reader says that the kernel skips.
func TestKernel(t *testing.T) {
	t.Parallel()
	init := initEntry(t)
	initrd, written := archives(t, init), written(init)
	if diff := cmp.Diff(written, read(t, initrd)); diff != "" {
		t.Errorf("internal/initramfs reads something else (-want +got):\n%s", diff)
	}
	want := builtin()
	maps.Copy(want, written)
	var entries []entry
	for _, test := range slices.Concat(refused, skipped) {
		entries = append(entries, test.entries...)
		maps.Copy(want, test.want)
	}
	// The kernel goes on behind all that. It does not look at a link's permissions.
	behind := symlink("behind", "x")
	entries, want[behind.Name] = append(entries, behind.mode(0o600)), asWritten(behind)
	got := unpacked(t, boot(t, append(initrd, raw(entries)...)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the kernel made something else (-want +got):\n%s", diff)
	}
}

// TestCut boots another. Of an archive that ends in the middle of a file the kernel
// makes what it can and says nothing: the rest of the file is zeros.
func TestCut(t *testing.T) {
	t.Parallel()
	init, cut := initEntry(t), regular("cut", large)
	half := len(large) / 2
	var initrd bytes.Buffer
	w := newc.NewWriter(&initrd)
	if err := write(w, init); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(cut.Header); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, large[:half]); err != nil {
		t.Fatal(err)
	}
	if _, err := initramfs.Merge(bytes.NewReader(initrd.Bytes()), int64(initrd.Len())); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("internal/initramfs: got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
	want := builtin()
	want["init"] = asWritten(init)
	want["cut"] = asWritten(regular("", large[:half]+strings.Repeat("\x00", len(large)-half)))
	if diff := cmp.Diff(want, unpacked(t, boot(t, initrd.Bytes()))); diff != "" {
		t.Errorf("the kernel made something else (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range refused {
		if err := writeAll(newc.NewWriter(io.Discard), test.entries); err == nil {
			t.Errorf("%s: the writer takes it", test.name)
		}
	}
}

func TestSkipped(t *testing.T) {
	for _, test := range skipped {
		initrd := archive(t, test.entries)
		if _, err := initramfs.Merge(bytes.NewReader(initrd), int64(len(initrd))); err == nil {
			t.Errorf("%s: the reader takes it", test.name)
		}
	}
}

// raw is an archive with anything in it.
func raw(entries []entry) []byte {
	var all []initramfstest.Entry
	for _, e := range entries {
		all = append(all, initramfstest.Entry{Name: e.Name, Mode: e.Mode, UID: e.UID, GID: e.GID,
			Inode: e.Inode, Nlink: e.Nlink, Data: e.body})
	}
	return initramfstest.Archive(all...)
}

// read is what internal/initramfs makes of an initrd.
func read(t *testing.T, initrd []byte) map[string]file {
	t.Helper()
	tree, err := initramfs.Merge(bytes.NewReader(initrd), int64(len(initrd)))
	if err != nil {
		t.Fatal(err)
	}
	files, names := map[string]file{}, map[uint64][]string{}
	for _, f := range tree.Files {
		content := f.SHA256 + f.Target
		if f.Size == 0 {
			content = ""
		}
		files[f.Path] = file{Mode: fmt.Sprintf("%o", f.Mode), UID: f.UID, GID: f.GID, Content: content}
		names[uint64(f.Number)] = append(names[uint64(f.Number)], f.Path)
	}
	link(files, names)
	return files
}

// unpacked is what the kernel made of an initrd.
func unpacked(t *testing.T, listing []File) map[string]file {
	t.Helper()
	files, names := map[string]file{}, map[uint64][]string{}
	for _, f := range listing {
		content := f.SHA256 + string(f.Target)
		files[string(f.Path)] = file{Mode: fmt.Sprintf("%o", f.Mode), UID: f.UID, GID: f.GID, Content: content}
		switch f.Mode & newc.TypeMask {
		case newc.TypeDir:
			continue
		case newc.TypeSymlink:
			if f.Size != int64(len(f.Target)) {
				t.Errorf("%q has size %d, but its target %d bytes", f.Path, f.Size, len(f.Target))
			}
		}
		names[f.Inode] = append(names[f.Inode], string(f.Path))
	}
	for _, f := range listing {
		if links := names[f.Inode]; links != nil && f.Nlink != uint64(len(links)) {
			t.Errorf("%q has %d links, want %q", f.Path, f.Nlink, links)
		}
	}
	link(files, names)
	return files
}

// link notes the names of every inode that has several.
func link(files map[string]file, names map[uint64][]string) {
	for _, links := range names {
		if len(links) == 1 {
			continue
		}
		slices.Sort(links)
		for _, name := range links {
			f := files[name]
			f.Links = fmt.Sprintf("%q", links)
			files[name] = f
		}
	}
}
