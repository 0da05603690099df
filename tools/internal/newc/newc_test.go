package newc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Header
	body string
}

func write(w *Writer, entries ...entry) error {
	for _, e := range entries {
		if err := w.WriteHeader(e.Header); err != nil {
			return err
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			return err
		}
	}
	return w.Close()
}

func TestBytes(t *testing.T) {
	var buf bytes.Buffer
	if err := write(NewWriter(&buf), entry{Header{Name: "init", Mode: TypeRegular | 0o755, UID: 1, GID: 0xabcdef01, Nlink: 1, Size: 2}, "hi"}); err != nil {
		t.Fatal(err)
	}
	want := "070701" + "00000001" + "000081ED" + "00000001" + "ABCDEF01" + "00000001" + "00000000" + "00000002" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "hi\x00\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00" + "\x00\x00\x00"
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// longestName has components and bytes as many as a name can have.
var longestName = strings.Repeat(strings.Repeat("n", 255)+"/", 16)[:4095]

func TestRoundTrip(t *testing.T) {
	want := []entry{
		{Header{Name: "d", Mode: TypeDir | 0o1777, Nlink: 3}, ""},
		{Header{Name: longestName, Mode: TypeRegular, Nlink: 1, Size: 3}, "abc"},
		{Header{Name: "TRAILER!!!/x", Mode: TypeRegular | 0o644, Nlink: 1}, ""},
		{Header{Name: "a\nb\xff", Mode: TypeRegular | 0o644, Nlink: 1, UID: math.MaxUint32 - 1, Size: 5}, "12345"},
		// The traps of cavaliergopher/cpio: type of a set-user-ID file, body of
		// a link, caller's header, magic of later entries.
		{Header{Name: "setuid", Mode: TypeRegular | 0o6755, Nlink: 1, Size: 1}, "s"},
		{Header{Name: "link", Mode: TypeSymlink | 0o777, Nlink: 1, Size: 3}, "a/b"},
		{Header{Name: "longest link", Mode: TypeSymlink | 0o777, Nlink: 1, Size: 4095}, strings.Repeat("t", 4095)},
		{Header{Name: "hard 1", Mode: TypeRegular | 0o644, Inode: 77, Nlink: 2}, ""},
		{Header{Name: "hard 2", Mode: TypeRegular | 0o644, Inode: 77, Nlink: 2, Size: 7}, "content"},
		{Header{Name: "last", Mode: TypeRegular | 0o644, Nlink: 1}, ""},
	}
	var buf bytes.Buffer
	if err := write(NewWriter(&buf), want...); err != nil {
		t.Fatal(err)
	}
	if buf.Len()%4 != 0 {
		t.Errorf("archive has %d bytes, want a multiple of 4", buf.Len())
	}
	if got := bytes.Count(buf.Bytes(), []byte("070701")); got != len(want)+1 {
		t.Errorf("archive has magic 070701 %d times, want %d", got, len(want)+1)
	}
	for i := range want {
		if want[i].Inode == 0 {
			want[i].Inode = uint32(i + 1)
		}
	}
	if diff := cmp.Diff(want, read(t, buf.Bytes()), cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestParts is about an archive that several Writers write.
func TestParts(t *testing.T) {
	entries := []entry{
		{Header{Name: ".", Mode: TypeDir | 0o755, Inode: 1, Nlink: 2}, ""},
		{Header{Name: "abc", Mode: TypeRegular, Inode: 2, Nlink: 1, Size: 1}, "1"},
		{Header{Name: longestName, Mode: TypeRegular, Inode: 3, Nlink: 1, Size: 4}, "1234"},
		{Header{Name: "l", Mode: TypeSymlink, Inode: 4, Nlink: 1, Size: 7}, "a/b/c/d"},
	}
	var whole, parts bytes.Buffer
	if err := write(NewWriter(&whole), entries...); err != nil {
		t.Fatal(err)
	}
	var want int64
	for i, e := range entries {
		w := NewWriter(&parts)
		if err := w.WriteHeader(e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
		end := w.Flush
		want += EntrySize(e.Header)
		if i == len(entries)-1 {
			end = w.Close
			want += EndSize()
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if int64(parts.Len()) != want {
			t.Errorf("archive has %d bytes behind entry %d, want %d", parts.Len(), i, want)
		}
	}
	if diff := cmp.Diff(whole.String(), parts.String()); diff != "" {
		t.Errorf("archive (-in one piece +in parts):\n%s", diff)
	}
	w := NewWriter(io.Discard)
	if err := w.WriteHeader(entries[1].Header); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err == nil || !strings.Contains(err.Error(), "body is 1 bytes short of 1") {
		t.Errorf("flush of a short body: got error %v", err)
	}
}

func TestWriteHeaderRejects(t *testing.T) {
	tests := []struct {
		header Header
		want   string
	}{
		{Header{}, `write entry "": name is empty`},
		{Header{Name: "/init"}, `write entry "/init": name is absolute`},
		{Header{Name: "a/"}, `write entry "a/": name has component ""`},
		{Header{Name: "a//b"}, `write entry "a//b": name has component ""`},
		{Header{Name: "./a"}, `write entry "./a": name has component "."`},
		{Header{Name: "a/../b"}, `write entry "a/../b": name has component ".."`},
		{Header{Name: "a/" + strings.Repeat("n", 256)}, `": name has a component of 256 bytes, more than 255`},
		{Header{Name: "a\x00b"}, `write entry "a\x00b": name contains NUL`},
		{Header{Name: longestName + "n"}, `": name has 4096 bytes, more than 4095`},
		{Header{Name: "TRAILER!!!", Mode: TypeRegular, Nlink: 1}, `write entry "TRAILER!!!": name marks the end of an archive`},
		{Header{Name: "a", Mode: 0o4755, Nlink: 1}, `write entry "a": mode 04755 is not of a file, directory or symbolic link`},
		{Header{Name: "a", Mode: 0o020600, Nlink: 1}, `write entry "a": mode 020600 is not of a file, directory or symbolic link`},
		{Header{Name: "a", Mode: 1<<16 | TypeRegular, Nlink: 1}, `write entry "a": mode 0300000 is out of range`},
		{Header{Name: "a", Mode: TypeRegular}, `write entry "a": link count is 0`},
		{Header{Name: "a", Mode: TypeRegular, Nlink: 1, UID: math.MaxUint32}, `write entry "a": owner 4294967295:0 is out of range: the kernel would take root`},
		{Header{Name: "a", Mode: TypeRegular, Nlink: 1, GID: math.MaxUint32}, `write entry "a": owner 0:4294967295 is out of range: the kernel would take root`},
		{Header{Name: ".", Mode: TypeRegular, Nlink: 1}, `write entry ".": root is not a directory`},
		{Header{Name: "a", Mode: TypeRegular, Nlink: 1, Size: -1}, `write entry "a": size -1 is out of range`},
		{Header{Name: "a", Mode: TypeRegular, Nlink: 1, Size: 1 << 32}, `write entry "a": size 4294967296 is out of range`},
		{Header{Name: "a", Mode: TypeDir, Nlink: 1, Size: 1}, `write entry "a": directory has size 1`},
		{Header{Name: "a", Mode: TypeSymlink, Nlink: 1}, `write entry "a": link target has 0 bytes, want 1 to 4095`},
		{Header{Name: "a", Mode: TypeSymlink, Nlink: 1, Size: 4096}, `write entry "a": link target has 4096 bytes, want 1 to 4095`},
	}
	for _, test := range tests {
		var buf bytes.Buffer
		w := NewWriter(&buf)
		err := w.WriteHeader(test.header)
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("WriteHeader(%.50v): got error %v, want %s", test.header, err, test.want)
		}
		if closeErr := w.Close(); !errors.Is(closeErr, err) {
			t.Errorf("Close after %v: got error %v", err, closeErr)
		}
		if buf.Len() != 0 {
			t.Errorf("%v: %d bytes written", err, buf.Len())
		}
	}
}

func TestBodyRejects(t *testing.T) {
	regular := Header{Name: "a", Mode: TypeRegular, Nlink: 1, Size: 3}
	tests := []struct {
		name string
		do   func(w *Writer) error
		want string
	}{
		{"short", func(w *Writer) error { return write(w, entry{regular, "ab"}) }, `write entry "a": body is 1 bytes short of 3`},
		{"short before another", func(w *Writer) error { return write(w, entry{regular, ""}, entry{regular, "abc"}) }, `write entry "a": body is 3 bytes short of 3`},
		{"long", func(w *Writer) error { return write(w, entry{regular, "abcd"}) }, `write entry "a": body is longer than 3 bytes`},
		{"before a header", func(w *Writer) error { _, err := w.Write([]byte("x")); return err }, `write entry "": body is longer than 0 bytes`},
		{"NUL in a target", func(w *Writer) error {
			return write(w, entry{Header{Name: "l", Mode: TypeSymlink, Nlink: 1, Size: 3}, "a\x00b"})
		}, `write entry "l": link target contains NUL`},
		{"closed", func(w *Writer) error {
			if err := w.Close(); err != nil {
				return err
			}
			return w.WriteHeader(regular)
		}, "archive is closed"},
		{"closed twice", func(w *Writer) error {
			if err := w.Close(); err != nil {
				return err
			}
			return w.Close()
		}, "archive is closed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(NewWriter(io.Discard)); err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

// limited is a writer that takes some bytes and then is full.
type limited int

func (l *limited) Write(p []byte) (int, error) {
	if *l -= limited(len(p)); *l < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	e := entry{Header{Name: "a", Mode: TypeRegular, Nlink: 1, Size: 3}, "abc"}
	for room := range 112 + 4 + 124 {
		l := limited(room)
		if err := write(NewWriter(&l), e); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: got error %v", room, err)
		}
	}
}

// TestLargestFile writes a file of 4 GiB - 1, the largest that the header can
// tell of.
func TestLargestFile(t *testing.T) {
	var size counter
	w := NewWriter(&size)
	if err := w.WriteHeader(Header{Name: "a", Mode: TypeRegular, Nlink: 1, Size: 1<<32 - 1}); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<24)
	for range 1 << 8 {
		if _, err := w.Write(chunk[:min(int64(len(chunk)), w.left)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if want := counter(112 + 1<<32 + 124); size != want {
		t.Errorf("archive has %d bytes, want %d", size, want)
	}
}

// counter is a writer that counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestAllocations(t *testing.T) {
	w := NewWriter(io.Discard)
	body := []byte("abc")
	got := testing.AllocsPerRun(100, func() {
		if err := w.WriteHeader(Header{Name: "lib/modules/a.ko", Mode: TypeRegular, Nlink: 1, Size: 3}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations an entry, want none", got)
	}
}

func TestManyEntries(t *testing.T) {
	const n = 100_000
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i := range n {
		if err := w.WriteHeader(Header{Name: fmt.Sprint(i), Mode: TypeRegular, Nlink: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	entries := read(t, buf.Bytes())
	if len(entries) != n || entries[n-1].Inode != n {
		t.Errorf("got %d entries, the last is %+v", len(entries), entries[len(entries)-1])
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("init", uint32(TypeRegular|0o755), uint32(0), uint32(0), uint32(1), []byte("body"))
	f.Add("a/link", uint32(TypeSymlink|0o777), uint32(1), uint32(1<<31), uint32(2), []byte("target"))
	f.Add("d\n\xff", uint32(TypeDir|0o1777), uint32(math.MaxUint32), uint32(0), uint32(2), []byte{})
	f.Add("TRAILER!!!", uint32(0), uint32(0), uint32(0), uint32(0), []byte{0})
	f.Fuzz(func(t *testing.T, name string, mode, uid, inode, nlink uint32, body []byte) {
		e := entry{Header{Name: name, Mode: mode, UID: uid, GID: ^uid, Inode: inode, Nlink: nlink, Size: int64(len(body))}, string(body)}
		last := entry{Header{Name: "last", Mode: TypeRegular, Inode: 1, Nlink: 1, Size: 1}, "x"}
		var buf bytes.Buffer
		if err := write(NewWriter(&buf), e, last); err != nil {
			return // entries that are refused have a test of their own
		}
		if e.Inode == 0 {
			e.Inode = 1
		}
		if diff := cmp.Diff([]entry{e, last}, read(t, buf.Bytes()), cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		if buf.Len()%4 != 0 {
			t.Errorf("archive has %d bytes, want a multiple of 4", buf.Len())
		}
	})
}
