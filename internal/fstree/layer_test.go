package fstree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one entry of a layer's tar.
type entry struct {
	tar.Header
	body string
}

func dir(name string) entry {
	return entry{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}}
}

func file(name, body string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}, body: body}
}

func link(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hard(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644}}
}

func (e entry) mode(mode int64) entry {
	e.Mode = mode
	return e
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("write header of %q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type layers [][]entry

func (l layers) apply(t testing.TB, tree *Tree) error {
	t.Helper()
	for _, entries := range l {
		if err := tree.AddTar(bytes.NewReader(tarOf(t, entries...))); err != nil {
			return err
		}
	}
	return nil
}

func TestAddTar(t *testing.T) {
	lower := []entry{dir("d"), file("d/a", "1"), dir("d/sub"), file("d/sub/b", "1"), file("f", "1")}
	tests := []struct {
		name   string
		layers layers
		want   []string
	}{
		{"empty layer", layers{{}}, nil},
		{"names from the root", layers{{dir("."), file("/abs", ""), file("./rel", ""), file("x//y/./z", "")}},
			[]string{`abs file 0644 ""`, `rel file 0644 ""`, "x dir 0755", "x/y dir 0755", `x/y/z file 0644 ""`}},
		{"odd names", layers{{file("new\nline", ""), file(`back\slash`, ""), file("\xff\xfe", ""), file(" ", ""), file("...", "")}},
			[]string{`  file 0644 ""`, `... file 0644 ""`, `back\slash file 0644 ""`, "new\nline file 0644 \"\"", "\xff\xfe file 0644 \"\""}},
		{"the last of a name wins", layers{{file("a", "1"), file("a", "2").mode(0o600), link("b", "x"), link("b", "y")}},
			[]string{`a file 0600 "2"`, "b link 0777 -> y"}},
		{"file becomes directory in one layer", layers{{file("a", "1"), dir("a"), file("a/b", "")}},
			[]string{"a dir 0755", `a/b file 0644 ""`}},
		{"directory before and after its files", layers{{file("a/b", ""), dir("a").mode(0o1777)}, {dir("a").mode(0o700)}},
			[]string{"a dir 0700", `a/b file 0644 ""`}},
		{"duplicate layer", layers{lower, lower},
			[]string{"d dir 0755", `d/a file 0644 "1"`, "d/sub dir 0755", `d/sub/b file 0644 "1"`, `f file 0644 "1"`}},
		{"file over directory", layers{lower, {file("d", "2")}}, []string{`d file 0644 "2"`, `f file 0644 "1"`}},
		{"directory over file", layers{lower, {dir("f"), file("f/x", "2")}, {file("d", "")}},
			[]string{`d file 0644 ""`, "f dir 0755", `f/x file 0644 "2"`}},
		{"directory over link replaces it", layers{{dir("usr/bin"), link("bin", "usr/bin")}, {dir("bin"), file("bin/x", "")}},
			[]string{"bin dir 0755", `bin/x file 0644 ""`, "usr dir 0755", "usr/bin dir 0755"}},
		{"link over directory", layers{lower, {link("d", "f")}}, []string{"d link 0777 -> f", `f file 0644 "1"`}},
		{"merged /usr", layers{{dir("usr/bin"), link("bin", "usr/bin")}, {file("bin/x", "")}},
			[]string{"bin link 0777 -> usr/bin", "usr dir 0755", "usr/bin dir 0755", `usr/bin/x file 0644 ""`}},
		{"merged /usr in one layer", layers{{link("bin", "/usr/bin"), file("bin/x", "")}},
			[]string{"bin link 0777 -> /usr/bin", "usr dir 0755", "usr/bin dir 0755", `usr/bin/x file 0644 ""`}},
		{"absolute link stays inside", layers{{link("s", "/etc")}, {file("s/pwn", "")}},
			[]string{"etc dir 0755", `etc/pwn file 0644 ""`, "s link 0777 -> /etc"}},
		{"escaping link stays inside", layers{{link("a/s", "../../../../etc")}, {file("a/s/pwn", "")}},
			[]string{"a dir 0755", "a/s link 0777 -> ../../../../etc", "etc dir 0755", `etc/pwn file 0644 ""`}},
		{"hard links", layers{{file("a", "1").mode(0o4755), hard("b", "a"), hard("c", "/b")}, {hard("d", "./a"), file("a", "2")}},
			[]string{`a file 0644 "2"`, `b file 04755 "1" nlink 3`, `c file 04755 "1" = b`, `d file 04755 "1" = b`}},
		{"hard link to a lower file replaces", layers{lower, {hard("d", "f")}},
			[]string{`d file 0644 "1" nlink 2`, `f file 0644 "1" = d`}},
		{"hard link to what it replaces", layers{lower, {hard("d", "d/a")}}, []string{`d file 0644 "1"`, `f file 0644 "1"`}},
		{"hard link to a link is not followed", layers{{file("a", ""), link("s", "a"), hard("h", "s")}},
			[]string{`a file 0644 ""`, "h link 0777 -> a nlink 2", "s link 0777 -> a = h"}},
		{"hard link through a linked folder", layers{lower, {link("l", "d/sub"), hard("h", "l/b")}},
			[]string{"d dir 0755", `d/a file 0644 "1"`, "d/sub dir 0755", `d/sub/b file 0644 "1" nlink 2`, `f file 0644 "1"`,
				`h file 0644 "1" = d/sub/b`, "l link 0777 -> d/sub"}},
		{"devices", layers{{
			entry{Header: tar.Header{Name: "c", Typeflag: tar.TypeChar, Mode: 0o620, Gid: 5, Devmajor: 4, Devminor: 64}},
			entry{Header: tar.Header{Name: "b", Typeflag: tar.TypeBlock, Mode: 0o660, Devmajor: 259, Devminor: 3}},
			entry{Header: tar.Header{Name: "p", Typeflag: tar.TypeFifo, Mode: 0o600}}}},
			[]string{"b block 0660 259,3", "c char 0620 0:5 4,64", "p fifo 0600"}},
		{"modes", layers{{file("s", "").mode(0o104755), dir("t").mode(0o1777), dir("g").mode(0o42755)}},
			[]string{"g dir 02755", `s file 04755 ""`, "t dir 01777"}},
		{"PAX global header", layers{{entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x", "path": "y"}}}, file("a", "")}},
			[]string{`a file 0644 ""`}},

		{"whiteout of a file", layers{lower, {file("d/.wh.a", ""), file(".wh.f", "")}},
			[]string{"d dir 0755", "d/sub dir 0755", `d/sub/b file 0644 "1"`}},
		{"whiteout of a directory", layers{lower, {file(".wh.d", "")}}, []string{`f file 0644 "1"`}},
		{"whiteout, added again", layers{lower, {file(".wh.d", ""), file("d/new", "2")}},
			[]string{"d dir 0755", `d/new file 0644 "2"`, `f file 0644 "1"`}},
		{"whiteout behind what was added", layers{{dir("d").mode(0o700), file("d/a", "1")}, {file("d/new", "2"), file(".wh.d", "")}},
			[]string{"d dir 0755", `d/new file 0644 "2"`}},
		{"whiteout behind the same directory", layers{lower, {dir("d").mode(0o711), file(".wh.d", ""), file(".wh.d", "")}},
			[]string{"d dir 0711", `f file 0644 "1"`}},
		{"whiteout and file of one name", layers{lower, {file("f", "2"), file(".wh.f", "")}, {file(".wh.d", "")}}, []string{`f file 0644 "2"`}},
		{"whiteout of one hard link", layers{{file("a", "1"), hard("b", "a")}, {file(".wh.a", "")}}, []string{`b file 0644 "1"`}},
		{"whiteout of a link, not its target", layers{{file("a", "1"), link("s", "a")}, {file(".wh.s", "")}}, []string{`a file 0644 "1"`}},
		{"whiteout above a linked parent", layers{{file("usr/bin/x", ""), link("bin", "usr/bin")}, {file("bin/.wh.x", "")}},
			[]string{"bin link 0777 -> usr/bin", "usr dir 0755", "usr/bin dir 0755"}},
		{"whiteout of nothing", layers{lower[4:], {file(".wh.x", ""), file("no/.wh.x", ""), file("no/.wh..wh..opq", "")}}, []string{`f file 0644 "1"`}},
		{"whiteout as a hard link", layers{lower[4:], {hard(".wh.f", ".wh..wh.aufs")}}, nil},
		{"opaque first", layers{lower, {file("d/.wh..wh..opq", ""), file("d/sub/c", "2")}},
			[]string{"d dir 0755", "d/sub dir 0755", `d/sub/c file 0644 "2"`, `f file 0644 "1"`}},
		{"opaque last", layers{lower, {dir("d").mode(0o711), file("d/sub/c", "2"), file("d/.wh..wh..opq", "")}},
			[]string{"d dir 0711", "d/sub dir 0755", `d/sub/c file 0644 "2"`, `f file 0644 "1"`}},
		{"opaque root", layers{lower, {file("g", "2"), file(".wh..wh..opq", "")}}, []string{`g file 0644 "2"`}},
		{"opaque in two layers", layers{lower, {file("d/.wh..wh..opq", ""), file("d/x", "2")}, {file("d/y", "3"), file("d/.wh..wh..opq", "")}},
			[]string{"d dir 0755", `d/y file 0644 "3"`, `f file 0644 "1"`}},
		{"opaque of a linked directory", layers{{file("usr/bin/x", ""), link("bin", "usr/bin")}, {file("bin/.wh..wh..opq", "")}},
			[]string{"bin link 0777 -> usr/bin", "usr dir 0755", "usr/bin dir 0755"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			if err := test.layers.apply(t, tree); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, describe(t, tree)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			checkConsistent(t, tree)
		})
	}
}

func TestAddTarRejects(t *testing.T) {
	long := strings.Repeat("long/", 100)
	tests := []struct {
		name   string
		layers layers
		want   string
	}{
		{"dots", layers{{file("../x", "")}}, `apply "../x": name contains ".."`},
		{"dots inside", layers{{file("a/../b", "")}}, `apply "a/../b": name contains ".."`},
		{"long path", layers{{file(strings.Repeat("long/", 820)+"x", "")}}, `: path bytes: 4101 is more than 4095: limit exceeded`},
		{"long name", layers{{file(strings.Repeat("n", 256), "")}}, `": name bytes: 256 is more than 255: limit exceeded`},
		{"deep", layers{{file(strings.Repeat("a/", 10000)+"a", "")}}, `: path bytes: 20001 is more than 4095: limit exceeded`},
		{"long path behind links", layers{{dir(strings.Repeat(long, 8)), link("s", strings.Repeat(long, 8)[:3999]), dir("s/" + long)}},
			`: resolve parent: path bytes: 4099 is more than 4095: limit exceeded`},
		{"long target", layers{{link("s", strings.Repeat("t", 4096))}}, `apply "s": link target bytes: 4096 is more than 4095: limit exceeded`},
		{"long name in a target", layers{{link("s", strings.Repeat("t", 256)), file("s/x", "")}},
			`apply "s/x": resolve parent: name bytes: 256 is more than 255: limit exceeded`},
		{"link without target", layers{{link("s", "")}}, `apply "s": symbolic link without a target`},
		{"below a file", layers{{file("f", "")}, {file("f/x", "")}}, `apply "f/x": resolve parent: not a directory`},
		{"below a link to a file", layers{{file("f", ""), link("s", "f"), file("s/x/y", "")}}, `apply "s/x/y": resolve parent: not a directory`},
		{"link loop", layers{{link("a", "b"), link("b", "a"), file("a/x", "")}}, `apply "a/x": resolve parent: too many levels of symbolic links`},
		{"root is a file", layers{{file(".", "")}}, `apply ".": root is not a directory`},
		{"directory in use becomes a file", layers{{file("d/x", ""), file("d", "")}}, `apply "d": directory of this layer with entries in it would be replaced`},
		{"directory in use becomes a link", layers{{file("bin/x", ""), link("bin", "usr/bin")}}, `apply "bin": directory of this layer with entries in it would be replaced`},

		{"hard link to nothing", layers{{hard("h", "no")}}, `apply "h": resolve link target "no": file does not exist`},
		{"hard link to what comes later", layers{{hard("h", "f"), file("f", "")}}, `apply "h": resolve link target "f": file does not exist`},
		{"hard link cycle", layers{{hard("a", "b"), hard("b", "a")}}, `apply "a": resolve link target "b": file does not exist`},
		{"hard link to itself", layers{{file("a", ""), hard("a", "a")}}, `apply "a": resolve link target "a": hard link to itself`},
		{"hard link to a directory", layers{{dir("d"), hard("h", "d")}}, `apply "h": resolve link target "d": is a directory`},
		{"hard link to the root", layers{{hard("h", "/")}}, `apply "h": resolve link target "/": is a directory`},
		{"hard link without target", layers{{hard("h", "")}}, `apply "h": resolve link target "": is a directory`},
		{"hard link escapes", layers{{file("x", ""), hard("a/b/c", "../x")}}, `apply "a/b/c": resolve link target "../x": name contains ".."`},
		{"hard link to the host", layers{{hard("h", "/etc/shadow")}}, `apply "h": resolve link target "/etc/shadow": file does not exist`},
		{"hard link to a whiteout", layers{{file(".wh.x", ""), hard("h", ".wh.x")}}, `apply "h": resolve link target ".wh.x": file does not exist`},

		{"whiteout without name", layers{{file(".wh.", "")}}, `apply ".wh.": whiteout without a name`},
		{"whiteout of dot", layers{{file("a/.wh..", "")}}, `apply "a/.wh..": whiteout without a name`},
		{"whiteout of dots", layers{{file("a/.wh...", "")}}, `apply "a/.wh...": whiteout without a name`},
		{"AUFS metadata", layers{{file(".wh..wh.plnk", "")}}, `apply ".wh..wh.plnk": AUFS metadata is not supported`},
		{"whiteout with content", layers{{file(".wh.x", "1")}}, `apply ".wh.x": whiteout is not an empty file`},
		{"whiteout is a directory", layers{{dir(".wh.x")}}, `apply ".wh.x/": whiteout is not an empty file`},
		{"below a whiteout", layers{{file("a/.wh.x/y", "")}}, `apply "a/.wh.x/y": entry below a whiteout`},
		{"whiteout below a file", layers{{file("f", "")}, {file("f/.wh.x", "")}}, `apply "f/.wh.x": resolve parent: not a directory`},

		{"unknown type", layers{{entry{Header: tar.Header{Name: "x", Typeflag: 'Q'}}}}, `apply "x": unknown tar entry type 'Q'`},
		{"contiguous file", layers{{entry{Header: tar.Header{Name: "x", Typeflag: tar.TypeCont}}}}, `apply "x": unknown tar entry type '7'`},
		{"negative uid", layers{{entry{Header: tar.Header{Name: "x", Uid: -1, Format: tar.FormatGNU}}}}, `apply "x": uid -1 is out of range`},
		{"uid of no file", layers{{entry{Header: tar.Header{Name: "x", Uid: 1<<32 - 1}}}}, `apply "x": uid 4294967295 is out of range`},
		{"huge gid", layers{{entry{Header: tar.Header{Name: "x", Gid: 1 << 40}}}}, `apply "x": gid 1099511627776 is out of range`},
		{"negative mode", layers{{entry{Header: tar.Header{Name: "x", Mode: -1, Format: tar.FormatGNU}}}}, `apply "x": mode -1 is negative`},
		{"device number", layers{{entry{Header: tar.Header{Name: "x", Typeflag: tar.TypeChar, Devmajor: 4096}}}}, `apply "x": device number 4096:0 is out of range`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			err := test.layers.apply(t, tree)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Fatalf("got error %v\nwant %s", err, test.want)
			}
			checkUnusable(t, tree, err)
		})
	}
}

// checkUnusable checks that a half-applied layer cannot be taken for a tree.
func checkUnusable(t *testing.T, tree *Tree, cause error) {
	t.Helper()
	for path := range tree.All() {
		t.Fatalf("All has %q after an error", path)
	}
	_, lookupErr := tree.Lookup("/")
	for what, err := range map[string]error{
		"AddTar": tree.AddTar(bytes.NewReader(nil)), "WriteTar": tree.WriteTar(io.Discard),
		"PlaceDir": tree.PlaceDir("new", Meta{}), "Lookup": lookupErr,
	} {
		if !errors.Is(err, cause) {
			t.Errorf("%s after an error: got %v, want %v", what, err, cause)
		}
	}
}

// rawHeader is a ustar header block with fields that archive/tar would not write.
func rawHeader(change func(block []byte)) []byte {
	block := make([]byte, 512)
	copy(block, "name")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	block[156] = '0'
	copy(block[257:], "ustar\x0000")
	change(block)
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

func TestAddTarRejectsBytes(t *testing.T) {
	whole := tarOf(t, file("first", ""), file("second", strings.Repeat("x", 2000)))
	sparse := rawHeader(func(b []byte) {
		b[156] = 'S'
		copy(b[257:], "ustar  \x00")
		copy(b[483:], "00000000000\x00") // real size
	})
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"no tar", bytes.Repeat([]byte("x"), 1024), "read tar: archive/tar: invalid tar header"},
		{"cut in a header", whole[:600], `read tar behind "first": unexpected EOF`},
		{"cut in a body", whole[:2048], `apply "second": copy content: unexpected EOF`},
		{"broken header", append(whole[:512:512], bytes.Repeat([]byte("x"), 512)...), `read tar behind "first": archive/tar: invalid tar header`},
		{"negative size", rawHeader(func(b []byte) { copy(b[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }), "read tar: archive/tar: invalid tar header"},
		{"huge size", rawHeader(func(b []byte) { copy(b[124:], "77777777777\x00") }), `apply "name": copy content: unexpected EOF`},
		{"larger than the limit", rawHeader(func(b []byte) { copy(b[124:], "\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01") }),
			`apply "name": file bytes: 8589934593 is more than 8589934592: limit exceeded`},
		{"GNU sparse", append(sparse, make([]byte, 1024)...), `apply "name": sparse file is not supported`},
		{"behind the end", append(whole, 0, 0, 'x'), "read tar: data behind the end of the archive"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			err := tree.AddTar(bytes.NewReader(test.data))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

func TestAddTarRejectsPAXSparse(t *testing.T) {
	pax, body := "", "0\n"
	for _, record := range []string{"major=1", "minor=0", "name=sparse", "realsize=0"} {
		record = " GNU.sparse." + record + "\n"
		pax += fmt.Sprint(len(record)+2) + record
	}
	data := rawHeader(func(b []byte) { b[156] = 'x'; copy(b[124:], fmt.Sprintf("%011o\x00", len(pax))) })
	data = append(data, (pax + strings.Repeat("\x00", 512-len(pax)))...)
	data = append(data, rawHeader(func(b []byte) { copy(b[124:], fmt.Sprintf("%011o\x00", 512)) })...)
	data = append(data, (body + strings.Repeat("\x00", 512-len(body)))...)
	err := newTree(t).AddTar(bytes.NewReader(data))
	if err == nil || err.Error() != `apply "sparse": sparse file is not supported` {
		t.Errorf("got error %v", err)
	}
}

func TestAddTarPadding(t *testing.T) {
	whole := tarOf(t, file("a", ""))
	for name, data := range map[string][]byte{
		"padded to a record": append(whole, make([]byte, 10240-len(whole))...),
		"without an end":     whole[:512],
		"nothing at all":     nil,
	} {
		if err := newTree(t).AddTar(bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
