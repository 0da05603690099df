//go:build vm

package kerneltest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/tools/internal/newc"
)

type entry struct {
	newc.Header
	body string
}

func regular(name, body string) entry {
	return entry{newc.Header{Name: name, Mode: newc.TypeRegular | 0o644, Nlink: 1, Size: int64(len(body))}, body}
}

func directory(name string) entry {
	return entry{newc.Header{Name: name, Mode: newc.TypeDir | 0o755, Nlink: 2}, ""}
}

func symlink(name, target string) entry {
	return entry{newc.Header{Name: name, Mode: newc.TypeSymlink | 0o777, Nlink: 1, Size: int64(len(target))}, target}
}

// hard is one of two names of a file.
func hard(name string, inode uint32, body string) entry {
	e := regular(name, body)
	e.Inode, e.Nlink = inode, 2
	return e
}

func (e entry) mode(permissions uint32) entry {
	e.Mode = e.Mode&newc.TypeMask | permissions
	return e
}

func (e entry) owner(uid, gid uint32) entry {
	e.UID, e.GID = uid, gid
	return e
}

// The longest path is deep and longest: 16 components as long as they can be are
// 4095 bytes, with the slashes between them.
var (
	longest    = strings.Repeat("c", 255)
	deep       = strings.Repeat("/"+longest, 15)[1:]
	longTarget = strings.Repeat("t", 4095)
	large      = strings.Repeat("0123456789abcdef", 10_000) + "end"
)

const many = 5000

// base is the first archive.
func base() []entry {
	entries := []entry{
		directory(".").mode(0o711),

		// Names.
		regular("a", "one byte"), regular("new\nline\r\n", "1"), regular(`back\slash\n`, "2"), regular("\xff\xfe\x80 not UTF-8", "3"),
		regular("  spaces  ", "4"), regular("init ", "5"), regular("-rf", "6"), regular("TRAILER!!!x", "7"), regular("TRAILER!!", "8"),
		regular("...", "9"), regular("~", "10"), regular("*?[%s$(x)`x`;", "11"), regular("\x1b[31m\a\b\x7f\x01", "12"), regular(`"'"`, "13"),
		regular("070701", "14"), regular("u\u0308 \u00fc \u2028 \U0001f525", "15"), regular("Case", "16"), regular("case", "17"),
		directory("d"), regular("d/TRAILER!!!", "18"), regular("d/init", "19"),

		// Targets.
		symlink("longest target", longTarget), symlink("short target", "x"), symlink("target", " \n\\\xff/../"), symlink("absolute", "/d/init"),

		// Modes and owners.
		regular("modes", "").mode(0), regular("set-uid", "x").mode(0o4755), regular("set-gid", "x").mode(0o2755).owner(1, 2),
		regular("all", "x").mode(0o7777).owner(1000, 1000), directory("sticky").mode(0o1777), directory("none").mode(0),
		directory("set-gid directory").mode(0o2775).owner(0, 50), directory("owned").owner(math.MaxUint32-1, math.MaxUint32-1),
		regular("owned/file", "x").owner(math.MaxUint32-1, 1<<31), symlink("owned/link", "x").owner(1<<31, math.MaxUint32-1),

		// Sizes: every padding, and more than one buffer of the kernel.
		regular("0", ""), regular("1", "1"), regular("2", "22"), regular("3", "333"), regular("4", "4444"), regular("large", large),

		// Hard links: content with the last, with none, with the first, with both.
		directory("left"), directory("right"), directory("right/below"),
		hard("left/last", 0x70000001, ""), hard("left/none", 0x70000002, ""), hard("right/first", 0x70000003, "first"),
		hard("right/below/last", 0x70000001, "last"), hard("right/none", 0x70000002, ""), hard("left/first", 0x70000003, ""),
		hard("left/both", 0x70000007, "longer and old"), hard("right/both", 0x70000007, "new"),
		hard("left/changing", 0x70000004, ""), hard("right/changing", 0x70000004, "x").mode(0o4711).owner(3, 4),
		// The same number as before, but its names are of another type or alone.
		symlink("left/link", "last"), regular("left/alone", "alone"),

		// To be overridden.
		regular("shorter", "0123456789"), regular("longer", "0"), regular("thrice", "1"), regular("owner", "x").mode(0o4755).owner(1, 1),
		symlink("link to file", "a"), regular("file to link", "old"), symlink("link to link", "old"), symlink("link to directory", "d"),
		regular("file to directory", "old"), directory("empty to file"), directory("empty to link"),
		directory("closed"), regular("closed/file", "stays"),
		regular("twice", "first, and longer"), regular("twice", "second"),
		directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"), regular("lib/through", "old"),
		hard("both", 0x70000005, ""), hard("both too", 0x70000005, "old"), hard("apart", 0x70000006, ""), hard("apart too", 0x70000006, "old"),
	}
	for end := 255; end <= len(deep); end += 256 {
		entries = append(entries, directory(deep[:end]))
	}
	return append(entries, directory(deep+"/y"), regular(deep+"/"+longest, "deep"))
}

// second comes over base, third over both. Their inodes have the numbers of
// base's.
func second() []entry {
	entries := []entry{
		regular("shorter", "new"), regular("longer", large), regular("thrice", "22"), regular("owner", "y").mode(0o600).owner(2, 2),
		regular("link to file", "new"), symlink("file to link", "new"), symlink("link to link", "new"), directory("link to directory").mode(0o700),
		directory("file to directory"), regular("file to directory/file", "new"), regular("empty to file", "new"), symlink("empty to link", "new"),
		directory("closed").mode(0o700).owner(5, 6),
		regular("lib/through", "new"), regular("usr/lib/straight", "new"),
		regular("both", "new"), symlink("apart", "new"),
		hard("left/last again", 0x70000001, ""), hard("right/last again", 0x70000001, "last again"),
		directory("many"),
	}
	for i := range many {
		entries = append(entries, regular(fmt.Sprintf("many/%04d", i), ""))
	}
	return entries
}

func third() []entry {
	return []entry{
		regular("thrice", "3"), directory("closed").mode(0o1700).owner(7, 8), regular("lib/straight", "newer"),
		hard("left/last thrice", 0x70000001, ""), hard("right/last thrice", 0x70000001, "last thrice"),
	}
}

// archives are the three, concatenated: the second compressed, with NULs up to
// where the third may start.
func archives(t *testing.T, init entry) []byte {
	t.Helper()
	initrd := archive(t, append(base(), init))
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	initrd = encoder.EncodeAll(archive(t, second()), initrd)
	if err := encoder.Close(); err != nil {
		t.Fatal(err)
	}
	initrd = append(initrd, make([]byte, 2*newc.Alignment-len(initrd)%newc.Alignment)...)
	return append(initrd, archive(t, third())...)
}

func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := writeAll(newc.NewWriter(&buf), entries); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func writeAll(w *newc.Writer, entries []entry) error {
	for _, e := range entries {
		if err := write(w, e); err != nil {
			return err
		}
	}
	return w.Close()
}

func write(w *newc.Writer, e entry) error {
	if err := w.WriteHeader(e.Header); err != nil {
		return err
	}
	_, err := io.WriteString(w, e.body)
	return err
}

// initEntry is lister.
func initEntry(t *testing.T) entry {
	t.Helper()
	name, err := runfiles.Rlocation("_main/tools/internal/newc/kerneltest/lister/lister_x86_64")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return regular("init", string(program)).mode(0o755)
}

// written is what the archives say: the last entry of a path holds, but for
// paths through symbolic links and for hard links.
func written(init entry) map[string]file {
	files := map[string]file{}
	for _, e := range slices.Concat(base(), []entry{init}, second(), third()) {
		files[e.Name] = asWritten(e)
	}
	for _, name := range []string{"through", "straight"} {
		files["usr/lib/"+name] = files["lib/"+name]
		delete(files, "lib/"+name)
	}
	linked := func(e entry, names ...string) {
		for _, name := range names {
			f := asWritten(e)
			f.Links = fmt.Sprintf("%q", names)
			files[name] = f
		}
	}
	linked(regular("", "last"), "left/last", "right/below/last")
	linked(regular("", ""), "left/none", "right/none")
	linked(regular("", "first"), "left/first", "right/first")
	linked(regular("", "new"), "left/both", "right/both")
	linked(regular("", "x").mode(0o4711).owner(3, 4), "left/changing", "right/changing")
	linked(regular("", "last again"), "left/last again", "right/last again")
	linked(regular("", "last thrice"), "left/last thrice", "right/last thrice")
	// A file over one of two names changes the inode, a link replaces the name.
	linked(regular("", "new"), "both", "both too")
	files["apart too"] = asWritten(regular("", "old"))
	return files
}

func asWritten(e entry) file {
	f := file{Mode: fmt.Sprintf("%o", e.Mode), UID: e.UID, GID: e.GID, Content: e.body}
	if e.Mode&newc.TypeMask == newc.TypeRegular && e.body != "" {
		f.Content = fmt.Sprintf("%x", sha256.Sum256([]byte(e.body)))
	}
	return f
}
