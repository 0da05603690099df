package squashfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// memory is a file in memory.
type memory struct {
	data []byte
	room int // 0 is no limit
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	end := int(off) + len(p)
	if m.room > 0 && end > m.room {
		return 0, syscall.ENOSPC
	}
	if end > len(m.data) {
		m.data = append(m.data, make([]byte, end-len(m.data))...)
	}
	return copy(m.data[off:], p), nil
}

func image(t testing.TB, tree *fstree.Tree) []byte {
	t.Helper()
	var m memory
	if err := Write(&m, tree); err != nil {
		t.Fatal(err)
	}
	return m.data
}

func TestRoundTrip(t *testing.T) {
	for _, test := range trees {
		t.Run(test.name, func(t *testing.T) {
			tree := fill(t, test.fill)
			data := image(t, tree)
			r := newReader(t, data)
			if diff := cmp.Diff(describeTree(t, tree), r.describe()); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			checkMount(t, r)
		})
	}
}

// checkMount checks what squashfs_fill_super in super.c does, and the padding.
func checkMount(t *testing.T, r *reader) {
	t.Helper()
	s := r.super
	if s.Magic != 0x73717368 || s.Major != 4 || s.Minor != 0 || s.Compression != 6 || s.BlockSize != 1<<s.BlockLog {
		t.Errorf("superblock = %+v", s)
	}
	padding := r.image[s.BytesUsed:]
	if len(r.image)%4096 != 0 || len(padding) >= 4096 || len(bytes.Trim(padding, "\x00")) > 0 {
		t.Errorf("image has %d bytes, of which %d are used", len(r.image), s.BytesUsed)
	}
	if s.XattrTable != noTable || s.ExportTable != noTable {
		t.Errorf("tables of attributes at %#x, for NFS at %#x, want none", s.XattrTable, s.ExportTable)
	}
	next := s.BytesUsed
	check := func(name string, table uint64, records, size int) {
		blocks := (records*size + metadataSize - 1) / metadataSize
		if table+uint64(8*blocks) != next {
			t.Errorf("%s at %#x has %d blocks and does not end at %#x", name, table, blocks, next)
		}
		next = table
		for n := blocks - 1; n >= 0; n-- {
			start := le.Uint64(r.image[table+uint64(8*n):])
			if start >= next || next-start > metadataSize+2 {
				t.Errorf("block %d of %s is from %#x to %#x", n, name, start, next)
			}
			next = start
		}
	}
	check("owners", s.IDTable, int(s.IDs), 4)
	if s.Fragments > 0 {
		check("fragments", s.FragmentTable, int(s.Fragments), fragmentEntrySize)
	} else if s.FragmentTable != noTable {
		t.Errorf("fragment table at %#x, want none", s.FragmentTable)
	}
	if s.DirTable > next || s.InodeTable >= s.DirTable || s.RootInode&0xffff >= metadataSize {
		t.Errorf("inodes at %#x, directories at %#x, next table at %#x, root %#x",
			s.InodeTable, s.DirTable, next, s.RootInode)
	}
}

func TestBytes(t *testing.T) {
	tree := newTree(t)
	addTar(t, tree, tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o751, Uid: 3, Gid: 4,
		ModTime: time.Unix(0x01020304, 0)})
	data := image(t, tree)
	r := newReader(t, data)
	if want := "hsqs\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00" +
		"\x06\x00\x11\x00\x60\x00\x02\x00\x04\x00\x00\x00"; string(data[:len(want)]) != want {
		t.Errorf("superblock = %q, want %q", data[:len(want)], want)
	}
	want := "\x01\x00\xe9\x01\x00\x00\x01\x00\x04\x03\x02\x01\x01\x00\x00\x00" +
		"\x00\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00"
	if got := (&cursor{r, int(r.super.InodeTable), 0}).read(32); string(got) != want {
		t.Errorf("inode = %q, want %q", got, want)
	}
	want = "\x08\x80\x03\x00\x00\x00\x04\x00\x00\x00"
	if got := data[r.super.DirTable:][:len(want)]; string(got) != want {
		t.Errorf("owners = %q, want %q", got, want)
	}
}

func TestLookup(t *testing.T) {
	for _, test := range trees {
		if test.name != "large directory" && test.name != "long names" {
			continue
		}
		tree := fill(t, test.fill)
		r := newReader(t, image(t, tree))
		root := r.readInode(r.super.RootInode)
		entry := r.lookup(root, "d")
		dir := r.readInode(uint64(entry.block)<<16 | uint64(entry.offset))
		want := (dir.dirOffset + dir.size - impliedSize) / metadataSize
		if dir.kind != typeExtendedDir || len(dir.index) != want {
			t.Errorf("%s: inode of type %d with %d index entries, want %d", test.name, dir.kind, len(dir.index), want)
		}
		for path, n := range tree.All() {
			name, ok := strings.CutPrefix(path, "d/")
			if !ok {
				continue
			}
			if e := r.lookup(dir, name); e == nil {
				t.Errorf("%s: lookup of %q finds nothing", test.name, n.Name())
			}
			if e := r.lookup(dir, name+"\x01"); e != nil {
				t.Errorf("%s: lookup of a missing name finds %q", test.name, e.name)
			}
		}
	}
}

// TestBlocks looks at how contents are stored.
func TestBlocks(t *testing.T) {
	tree := newTree(t)
	place(t, tree, "a", noise(2*blockSize)+"end")
	place(t, tree, "b", strings.Repeat("b", 100))
	place(t, tree, "c", noise(2*blockSize)+"end")
	place(t, tree, "d", strings.Repeat("d", blockSize))
	place(t, tree, "e", noise(blockSize-103))
	place(t, tree, "f", "in the next fragment")
	r := newReader(t, image(t, tree))
	root := r.readInode(r.super.RootInode)
	got := map[string]diskInode{}
	for _, e := range r.list(root, 0, 0, func(*dirEntry) bool { return true }) {
		i := r.readInode(uint64(e.block)<<16 | uint64(e.offset))
		got[e.name] = diskInode{start: i.start, fragment: i.fragment, offset: i.offset, blocks: i.blocks}
	}
	// The length of a compressed block is not ours to tell.
	d := got["d"]
	if len(d.blocks) != 1 || d.blocks[0] == 0 || d.blocks[0] > 100 {
		t.Errorf("blocks of d = %v, want one small one", d.blocks)
	}
	stored := uint32(blockSize | storedBlock)
	a := diskInode{start: 96, blocks: []uint32{stored, stored}}
	want := map[string]diskInode{
		"a": a,
		"b": {offset: 3},
		"c": a,
		"d": {start: 96 + 2*blockSize, fragment: noFragment, blocks: d.blocks},
		"e": {offset: 103},
		"f": {fragment: 1},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(diskInode{}, dirIndex{})); diff != "" {
		t.Errorf("inodes (-want +got):\n%s", diff)
	}
}

func TestExtendedInode(t *testing.T) {
	tests := []struct {
		name   string
		change func(n *fstree.Inode, c *content)
		want   uint16
	}{
		{"basic", func(n *fstree.Inode, c *content) { n.Size, c.start = math.MaxUint32, math.MaxUint32 }, typeRegular},
		{"large", func(n *fstree.Inode, c *content) { n.Size = 1 << 32 }, typeExtendedRegular},
		{"far", func(n *fstree.Inode, c *content) { c.start = 1 << 32 }, typeExtendedRegular},
		{"linked", func(n *fstree.Inode, c *content) { n.Nlink = 2 }, typeExtendedRegular},
	}
	for _, test := range tests {
		n, c := &fstree.Inode{Nlink: 1, Size: 5}, &content{start: 96, fragment: 7, offset: 9}
		test.change(n, c)
		kind, body := fileInode(&entry{node: &fstree.Node{Inode: n}, inode: &inode{content: c}})
		if kind != test.want {
			t.Errorf("%s: type %d, want %d", test.name, kind, test.want)
		}
		want := appendUint32(nil, uint32(c.start), 7, 9, uint32(n.Size))
		if kind == typeExtendedRegular {
			want = le.AppendUint64(le.AppendUint64(nil, uint64(c.start)), uint64(n.Size))
			want = appendUint32(le.AppendUint64(want, 0), uint32(n.Nlink), 7, 9, noXattr)
		}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("%s: inode (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var text strings.Builder
	for i := range 8 * blockSize / 32 {
		fmt.Fprintf(&text, "#define REGISTER_%d 0x%08x\n", i*i%10007, i*i)
	}
	tree := newTree(t)
	for i := range 8 {
		place(t, tree, fmt.Sprint("f", i), text.String()[i*blockSize:][:blockSize-i])
	}
	var want []byte
	for _, procs := range []int{1, 2, 4, 7} {
		runtime.GOMAXPROCS(procs)
		got := image(t, tree)
		if want == nil {
			want = got
		}
		if !bytes.Equal(want, got) {
			t.Errorf("image made with %d processors differs", procs)
		}
	}
}

func TestWriteRejects(t *testing.T) {
	tests := []struct {
		name string
		fill func(t testing.TB, tree *fstree.Tree)
		want string
	}{
		{"device", func(t testing.TB, tree *fstree.Tree) {
			addTar(t, tree, tar.Header{Typeflag: tar.TypeChar, Name: "d/null", Devmajor: 1, Devminor: 3})
		}, `store "/d/null": type char is not supported`},
		{"FIFO", func(t testing.TB, tree *fstree.Tree) {
			addTar(t, tree, tar.Header{Typeflag: tar.TypeFifo, Name: "p"})
		}, `store "/p": type fifo is not supported`},
		{"attribute", func(t testing.TB, tree *fstree.Tree) {
			xattrs := map[string]string{"SCHILY.xattr.user.a": "b"}
			addTar(t, tree, tar.Header{Typeflag: tar.TypeDir, Name: "./", PAXRecords: xattrs})
		}, `store "/": extended attributes are not supported`},
		{"name", func(t testing.TB, tree *fstree.Tree) {
			place(t, tree, strings.Repeat("n", 256), "")
		}, `nn": name has 256 bytes, more than 255`},
		{"target", func(t testing.TB, tree *fstree.Tree) {
			tree.Limits.PathBytes = 5000
			place(t, tree, "l -> "+strings.Repeat("t", 4096), "")
		}, `store "/l": link target has 4096 bytes, more than 4095`},
		{"early", func(t testing.TB, tree *fstree.Tree) {
			addTar(t, tree, tar.Header{Typeflag: tar.TypeReg, Name: "f", ModTime: time.Unix(-1, 0).UTC()})
		}, `store "/f": time 1969-12-31 23:59:59 +0000 UTC is out of range`},
		{"late", func(t testing.TB, tree *fstree.Tree) {
			addTar(t, tree, tar.Header{Typeflag: tar.TypeReg, Name: "f", ModTime: time.Unix(1<<32, 0)})
		}, ` is out of range`},
		{"owners", func(t testing.TB, tree *fstree.Tree) {
			for i := range uint32(32768) {
				meta := fstree.Meta{UID: 2 * i, GID: 2*i + 1}
				if err := tree.PlaceSymlink(fmt.Sprint("l", i), "t", meta); err != nil {
					t.Fatal(err)
				}
			}
		}, `store "/l9999": owner 19999 is one more than 65535 different ones`},
		{"closed", func(t testing.TB, tree *fstree.Tree) { tree.Close() }, `lstat /: tree is closed`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var m memory
			err := Write(&m, fill(t, test.fill))
			if err == nil || !strings.HasPrefix(err.Error(), "write squashfs: ") || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
			if bytes.HasPrefix(m.data, []byte("hsqs")) {
				t.Error("there is a superblock")
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	tree := newTree(t)
	place(t, tree, "a", noise(5*blockSize))
	size := len(image(t, tree))
	for _, room := range []int{1, 96, 1000, size / 2, size - 1} {
		m := &memory{room: room}
		if err := Write(m, tree); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: got error %v", room, err)
		}
	}
}
