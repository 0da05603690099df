package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs/initramfstest"
)

type (
	raw = initramfstest.Entry
)

const (
	dir     = TypeDir | 0o755
	symlink = TypeSymlink | 0o777
)

// list is what a walk sees, one line an entry: segment, offset, name, mode, then
// data or target.
func list(data []byte) (lines []string, segments []Segment, err error) {
	segments, err = Walk(bytes.NewReader(data), int64(len(data)), func(entry *Entry, body io.Reader) error {
		content, err := io.ReadAll(body)
		lines = append(lines, fmt.Sprintf("%d+%d %s %o %s%s", entry.Segment, entry.Offset, entry.Name, entry.Mode, content, entry.Target))
		return err
	})
	return lines, segments, err
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestWalk(t *testing.T) {
	hello := initramfstest.Archive(raw{Name: "bin", Mode: dir}, raw{Name: "bin/hello", Mode: 0o100755, Data: "hello"})
	helloLines := func(segment int) []string {
		return []string{fmt.Sprintf("%d+0 bin 40755 ", segment), fmt.Sprintf("%d+116 bin/hello 100755 hello", segment)}
	}
	size := int64(len(hello)) // 116 + 120 + 8 + 124
	gz, zst := initramfstest.Gzip(hello), initramfstest.Zstd(hello)
	plain := Segment{StoredSize: size, Size: size, Entries: 2}
	gzipped := Segment{StoredSize: int64(len(gz)), Compression: "gzip", Size: size, Entries: 2}
	zstded := Segment{StoredSize: int64(len(zst)), Compression: "zstd", Size: size, Entries: 2}
	at := func(segment Segment, index int, offset, padding int64) Segment {
		segment.Index, segment.Offset, segment.Padding = index, offset, padding
		return segment
	}
	large := initramfstest.Archive(raw{Name: "zeros", Data: strings.Repeat("\x00", 1<<20)}, raw{Name: "ones", Data: strings.Repeat("\x01", 300<<10+1)})
	noTrailer := initramfstest.Entries(raw{Name: "a"}, raw{Name: "b", Data: "b"})
	tests := []struct {
		name     string
		data     []byte
		lines    []string
		segments []Segment
	}{
		{"plain", hello, helloLines(0), []Segment{plain}},
		{"gzip", gz, helloLines(0), []Segment{gzipped}},
		{"zstd", zst, helloLines(0), []Segment{zstded}},
		{"padding", join(make([]byte, 7), gz, make([]byte, 513)), helloLines(0), []Segment{at(gzipped, 0, 7, 513)}},
		{"padding inside", initramfstest.Zstd(join(hello, make([]byte, 700))), helloLines(0), []Segment{{
			StoredSize: int64(len(initramfstest.Zstd(join(hello, make([]byte, 700))))), Compression: "zstd", Size: size + 700, Entries: 2,
		}}},
		{"plain, gzip, zstd", join(hello, gz, zst), slices.Concat(helloLines(0), helloLines(1), helloLines(2)), []Segment{
			plain, at(gzipped, 1, size, 0), at(zstded, 2, size+int64(len(gz)), 0),
		}},
		{"zstd, gzip, plain", join(zst, gz, make([]byte, -len(join(zst, gz))&3), hello), slices.Concat(helloLines(0), helloLines(1), helloLines(2)), []Segment{
			zstded, at(gzipped, 1, int64(len(zst)), int64(-len(join(zst, gz))&3)), at(plain, 2, int64(len(initramfstest.Align(join(zst, gz)))), 0),
		}},
		{"two plain", join(hello, make([]byte, 512), hello), slices.Concat(helloLines(0), helloLines(1)), []Segment{
			at(plain, 0, 0, 512), at(plain, 1, size+512, 0),
		}},
		{"two archives in a stream", initramfstest.Gzip(join(hello, make([]byte, 4), hello)), append(helloLines(0), "0+372 bin 40755 ", "0+488 bin/hello 100755 hello"), []Segment{{
			StoredSize: int64(len(initramfstest.Gzip(join(hello, make([]byte, 4), hello)))), Compression: "gzip", Size: 2*size + 4, Entries: 4,
		}}},
		{"no trailer", noTrailer, []string{"0+0 a 100644 ", "0+112 b 100644 b"}, []Segment{{StoredSize: 228, Size: 228, Entries: 2}}},
		{"no trailer, then another segment", join(noTrailer, gz), append([]string{"0+0 a 100644 ", "0+112 b 100644 b"}, helloLines(1)...), []Segment{
			{StoredSize: 228, Size: 228, Entries: 2}, at(gzipped, 1, 228, 0),
		}},
		{"zeros between entries", join(initramfstest.Entries(raw{Name: "a"}), make([]byte, 8), hello), []string{
			"0+0 a 100644 ", "0+120 bin 40755 ", "0+236 bin/hello 100755 hello",
		}, []Segment{{StoredSize: size + 120, Size: size + 120, Entries: 3}}},
		{"link and device", initramfstest.Archive(raw{Name: "sh", Mode: symlink, Data: "busybox"}, raw{Name: "null", Mode: TypeCharDevice | 0o666, RdevMajor: 1, RdevMinor: 3}), []string{
			"0+0 sh 120777 busybox", "0+124 null 20666 ",
		}, []Segment{{StoredSize: 364, Size: 364, Entries: 2}}},
		{"checksum", initramfstest.Archive(raw{Name: "a", Data: "abc", Checksum: 'a' + 'b' + 'c'}), []string{"0+0 a 100644 abc"}, []Segment{{StoredSize: 240, Size: 240, Entries: 1}}},
		{"only a trailer", initramfstest.Archive(), nil, []Segment{{StoredSize: 124, Size: 124}}},
		{"longest name", initramfstest.Archive(raw{Name: strings.Repeat("n", 4095)}), []string{"0+0 " + strings.Repeat("n", 4095) + " 100644 "}, []Segment{{StoredSize: 4332, Size: 4332, Entries: 1}}},
		{"padded name", initramfstest.Archive(raw{Name: "n\x00\x00\x00"}), []string{"0+0 n 100644 "}, []Segment{{StoredSize: 240, Size: 240, Entries: 1}}},
		{"large", initramfstest.Zstd(large), []string{
			"0+0 zeros 100644 " + strings.Repeat("\x00", 1<<20), "0+1048692 ones 100644 " + strings.Repeat("\x01", 300<<10+1),
		}, []Segment{{StoredSize: int64(len(initramfstest.Zstd(large))), Compression: "zstd", Size: int64(len(large)), Entries: 2}}},
	}
	for _, test := range tests {
		lines, segments, err := list(test.data)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.lines, lines); diff != "" {
			t.Errorf("%s: entries (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.segments, segments); diff != "" {
			t.Errorf("%s: segments (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestWalkRejects(t *testing.T) {
	hello := initramfstest.Archive(raw{Name: "hello", Data: "hello"})
	bad := func(offset int, text string) []byte {
		data := bytes.Clone(hello)
		copy(data[offset:], text)
		return data
	}
	behind := func(data []byte) []byte { return join(hello, data) }
	gz, zst := initramfstest.Gzip(hello), initramfstest.Zstd(hello)
	const inEntry = `read segment 0 at 0: entry "hello" at 0: `
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "initrd has no segment"},
		{"zeros", make([]byte, 8192), "initrd has no segment"},
		{"garbage", []byte("garbage"), "read segment 0 at 0: magic 6761 is neither of an archive nor of a compression"},
		{"one byte", []byte{0x1f}, "read segment 0 at 0: magic 1f00 is neither of an archive nor of a compression"},
		{"xz", []byte("\xfd7zXZ\x00"), "read segment 0 at 0: it is compressed with xz, want gzip, zstd or nothing"},
		{"lz4", behind([]byte("\x02\x21\x4c\x18")), "read segment 1 at 248: it is compressed with lz4, want gzip, zstd or nothing"},
		{"bzip2", []byte("BZh9"), "read segment 0 at 0: it is compressed with bzip2, want gzip, zstd or nothing"},
		{"lzma", []byte("\x5d\x00\x00"), "read segment 0 at 0: it is compressed with lzma, want gzip, zstd or nothing"},
		{"lzo", []byte("\x89LZO"), "read segment 0 at 0: it is compressed with lzo, want gzip, zstd or nothing"},

		{"archive at no multiple of 4", join(make([]byte, 2), hello), "read segment 0 at 2: it is no multiple of 4 bytes from the start of the initrd"},
		{"entry at no multiple of 4", initramfstest.Gzip(join(hello, make([]byte, 2), hello)), "read segment 0 at 0: entry at 250 is at no multiple of 4 bytes"},
		{"junk in a stream", initramfstest.Gzip(join(hello, []byte("junk"))), "read segment 0 at 0: byte 0x6a at 248 is no start of an entry"},
		{"compressed twice", initramfstest.Zstd(gz), "read segment 0 at 0: byte 0x1f at 0 is no start of an entry"},

		{"old format", bad(0, "070707"), `read segment 0 at 0: entry "" at 0: archive has the old format of cpio, want newc`},
		{"no magic", bad(0, "0x"), `read segment 0 at 0: entry "" at 0: magic is "0x0701", want 070701 or 070702`},
		{"no number", bad(6, "0x000000"), `read segment 0 at 0: entry "" at 0: header has "0x000000", want 8 hexadecimal digits`},
		{"number with a sign", bad(6, "+0000000"), `read segment 0 at 0: entry "" at 0: header has "+0000000", want 8 hexadecimal digits`},
		{"no name", bad(94, "00000000"), `read segment 0 at 0: entry "" at 0: name has 0 bytes, want 1 to 4096 with its NUL`},
		{"name too long", initramfstest.Archive(raw{Name: strings.Repeat("n", 4096)}), `read segment 0 at 0: entry "" at 0: name has 4097 bytes, want 1 to 4096 with its NUL`},
		{"name without NUL", bad(115, "x"), `read segment 0 at 0: entry "hellox" at 0: name does not end with its NUL`},
		{"name with a NUL inside", bad(112, "\x00"), `read segment 0 at 0: entry "he" at 0: name does not end with its NUL`},
		{"name empty", bad(110, "\x00\x00\x00\x00\x00"), `read segment 0 at 0: entry "" at 0: name is empty`},
		{"no type", initramfstest.Archive(raw{Name: "hello", Mode: 0o644}), inEntry + "type 0 is unknown"},
		{"folder with data", initramfstest.Archive(raw{Name: "hello", Mode: dir, Data: "x"}), inEntry + "type 040000 has 1 bytes of data"},
		{"link without target", initramfstest.Archive(raw{Name: "hello", Mode: symlink}), inEntry + "link target has 0 bytes, want 1 to 4095"},
		{"link target too long", initramfstest.Archive(raw{Name: "hello", Mode: symlink, Data: strings.Repeat("t", 4096)}), inEntry + "link target has 4096 bytes, want 1 to 4095"},
		{"link target with a NUL", initramfstest.Archive(raw{Name: "hello", Mode: symlink, Data: "a\x00b"}), inEntry + `link target "a\x00b" has a NUL`},
		{"wrong checksum", initramfstest.Archive(raw{Name: "hello", Data: "hello", Checksum: 1}), inEntry + "checksum is 00000214, want 00000001"},
		{"4 GiB - 1", bad(54, "FFFFFFFF"), inEntry + "read data: unexpected EOF"},

		{"bytes behind gzip", join(gz, []byte("garbage")), fmt.Sprintf("read segment 1 at %d: magic 6761 ", len(gz))},
		{"gzip damaged", append(bytes.Clone(gz[:len(gz)-8]), make([]byte, 8)...), "read segment 0 at 0: decompress gzip: gzip: invalid checksum"},
		{"gzip cut in an entry", initramfstest.Gzip(hello[:200]), `read segment 0 at 0: entry "" at 124: read header: unexpected EOF`},
		{"zstd damaged", append(bytes.Clone(zst[:len(zst)-4]), make([]byte, 4)...), "read segment 0 at 0: decompress zstd: "},
		{"zstd cut", zst[:len(zst)-1], "read segment 0 at 0: read zstd frame: frame of "},
		{"zstd frame to skip", join([]byte("\x50\x2a\x4d\x18\x00\x00\x00\x00"), zst), "read segment 0 at 0: magic 502a is neither "},
		{"zstd of an unknown frame", []byte("\x28\xb5garbage"), "read segment 0 at 0: read zstd frame: "},
		{"zstd with a reserved block", []byte("\x28\xb5\x2f\xfd\x20\x00\x07\x00\x00"), "read segment 0 at 0: read zstd frame: block at 6 has the reserved type"},
	}
	for _, test := range tests {
		if lines, _, err := list(test.data); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %q, error %v, want %s", test.name, lines, err, test.want)
		}
	}
}

// TestWalkCut cuts initrds everywhere but between entries.
func TestWalkCut(t *testing.T) {
	archive := initramfstest.Archive(raw{Name: "bin", Mode: dir}, raw{Name: "bin/hello", Data: "hello"})
	for name, test := range map[string]struct {
		data []byte
		good []int // sizes at which the kernel would not complain either
	}{
		"plain": {archive, []int{116, 244}},
		"gzip":  {initramfstest.Gzip(archive), nil},
		"zstd":  {initramfstest.Zstd(archive), nil},
	} {
		for size := range test.data {
			lines, _, err := list(test.data[:size])
			if good := slices.Contains(test.good, size); (err == nil) != good {
				t.Errorf("%s cut at %d: got %q, error %v", name, size, lines, err)
			}
		}
	}
}

// TestWalkVisit checks that a visitor need not read, and that its error counts.
func TestWalkVisit(t *testing.T) {
	data := initramfstest.Zstd(initramfstest.Archive(raw{Name: "a", Data: "aaaaa"}, raw{Name: "b", Data: "b"}))
	var names []string
	if _, err := Walk(bytes.NewReader(data), int64(len(data)), func(entry *Entry, _ io.Reader) error {
		names = append(names, fmt.Sprint(entry.Number, entry.Name))
		return nil
	}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"0a", "1b"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if _, err := Walk(bytes.NewReader(data), int64(len(data)), func(*Entry, io.Reader) error { return stop }); err != stop {
		t.Errorf("got error %v, want that of visit", err)
	}
}

type brokenReader struct{ io.ReaderAt }

func (b brokenReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset > 64<<10 {
		return 0, errors.New("disk broken")
	}
	return b.ReaderAt.ReadAt(p, offset)
}

func TestWalkReadError(t *testing.T) {
	data := initramfstest.Archive(raw{Name: "a", Data: strings.Repeat("a", 1<<20)})
	_, err := Walk(brokenReader{bytes.NewReader(data)}, int64(len(data)), func(_ *Entry, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if want := `read segment 0 at 0: entry "a" at 0: read data: disk broken`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func FuzzWalk(f *testing.F) {
	hello := initramfstest.Archive(raw{Name: "bin", Mode: dir}, raw{Name: "bin/hello", Data: "hello"}, raw{Name: "sh", Mode: symlink, Data: "bin/hello"})
	f.Add(hello)
	f.Add(join(hello, initramfstest.Gzip(hello), initramfstest.Zstd(hello)))
	f.Add(initramfstest.Entries(raw{Name: "a", Inode: 1, Nlink: 2}, raw{Name: "b", Inode: 1, Nlink: 2, Data: "x", Checksum: 'x'}))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, segments, err := list(data)
		if err != nil {
			return
		}
		var end int64
		entries := 0
		for _, segment := range segments {
			if segment.Offset < end || segment.Index == 0 && segment.Offset > end+int64(len(data)) {
				t.Errorf("segment %+v starts before %d", segment, end)
			}
			end = segment.Offset + segment.StoredSize + segment.Padding
			entries += segment.Entries
		}
		if end != int64(len(data)) || entries != len(lines) {
			t.Errorf("segments end at %d of %d, have %d entries of %d", end, len(data), entries, len(lines))
		}
		tree, err := Merge(bytes.NewReader(data), int64(len(data)))
		if err == nil && len(tree.Files) > len(lines) {
			t.Errorf("%d files from %d entries", len(tree.Files), len(lines))
		}
	})
}
