package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// segment makes a segment of a name above others and gives its flag for join.
func (f *fixture) segment(name string, lower []string, args ...string) (string, error) {
	f.t.Helper()
	args = append(args, "--out="+f.path(name+".cpio"), "--listing="+f.path(name+".mtree"))
	for _, below := range lower {
		args = append(args, "--lower="+f.path(below+".mtree"))
	}
	return "--segment=" + f.path(name+".mtree") + "=" + f.path(name+".cpio"), f.run(args...)
}

// mustSegment is segment where it has to work.
func (f *fixture) mustSegment(name string, lower []string, args ...string) string {
	f.t.Helper()
	flag, err := f.segment(name, lower, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return flag
}

func (f *fixture) join(segments ...string) error {
	var stdout, stderr bytes.Buffer
	return run(append([]string{"join", "--out=" + f.path("out.cpio"), "--listing=" + f.path("out.mtree")}, segments...), &stdout, &stderr)
}

func TestJoin(t *testing.T) {
	for _, compression := range []string{"none", "zstd", "zstd-fast"} {
		t.Run(compression, func(t *testing.T) {
			f := newFixture(t)
			how := "--compression=" + compression
			root := dir(".")
			root.Mode = 0o700
			base := f.mustSegment("base", nil, how, f.layer("l", root, dir("usr/lib"), link("lib", "usr/lib"), link("init", "/sbin/init"), dir("sbin"), file("sbin/x", 0o755, "x")))
			modules := f.mustSegment("modules", []string{"base"}, how, f.modules(nil), "--module=c-d")
			programs := f.mustSegment("programs", []string{"base", "modules"}, how, f.binary("/sbin/init"), f.binary("/usr/local/bin/agent"))
			if err := f.join(base, modules, programs); err != nil {
				t.Fatal(err)
			}
			// The directory that a link of the base stands for is not made anew, nor
			// any other that is there.
			want := []string{
				". dir 0700", "etc dir 0755", "etc/modules file 0444", "init link 0777 /sbin/init", "lib link 0777 usr/lib", "sbin dir 0755", "sbin/init file 0555",
				"sbin/x file 0755", "usr dir 0755", "usr/lib dir 0755", "usr/lib/modules dir 0755", "usr/lib/modules/" + release + " dir 0755",
				"usr/lib/modules/" + release + "/kernel dir 0755", "usr/lib/modules/" + release + "/kernel/x dir 0755",
				"usr/lib/modules/" + release + "/kernel/x/c-d.ko file 0444", "usr/lib/modules/" + release + "/modules.dep file 0444",
				"usr/local dir 0755", "usr/local/bin dir 0755", "usr/local/bin/agent file 0555",
			}
			if diff := cmp.Diff(want, f.listed("out")); diff != "" {
				t.Errorf("listing (-want +got):\n%s", diff)
			}
			var whole []byte
			for _, name := range []string{"base", "modules", "programs"} {
				segment := f.read(name + ".cpio")
				if len(segment)%4 != 0 {
					t.Errorf("segment %s has %d bytes, want a multiple of 4", name, len(segment))
				}
				whole = append(whole, segment...)
			}
			if got := f.read("out.cpio"); !bytes.Equal(got, whole) {
				t.Errorf("initrd has %d bytes, want the segments' %d", len(got), len(whole))
			}
		})
	}
}

// listed is a listing, one short line for each entry.
func (f *fixture) listed(name string) []string {
	f.t.Helper()
	entries, err := readListing(f.path(name + ".mtree"))
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for _, entry := range entries {
		line := fmt.Sprintf("%s %s %04o", entry.Path, entry.Type, entry.Mode)
		if entry.Target != "" {
			line += " " + entry.Target
		}
		lines = append(lines, line)
	}
	return lines
}

func TestCompression(t *testing.T) {
	f := newFixture(t)
	text := strings.Repeat("compressible ", 1<<16)
	args := []string{"--file=/a=" + f.write("a", []byte(text)), "--file=/b=" + f.write("b", []byte(text))}
	f.mustSegment("plain", nil, args...)
	plain := f.read("plain.cpio")
	for _, how := range []string{"zstd", "zstd-fast"} {
		f.mustSegment("packed", nil, append(args, "--compression="+how)...)
		packed := f.read("packed.cpio")
		var header zstd.Header
		if err := header.Decode(packed); err != nil {
			t.Fatal(err)
		}
		if !header.HasFCS || header.FrameContentSize != uint64(len(plain)) || header.WindowSize > window {
			t.Errorf("%s: frame has %+v, want its size, %d, and a window of at most %d", how, header, len(plain), window)
		}
		decoder, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		// The NULs behind the frame are for the kernel; they are no frame.
		got, err := decoder.DecodeAll(bytes.TrimRight(packed, "\x00"), nil)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if !bytes.Equal(got, plain) {
			t.Errorf("%s: unpacked segment has %d bytes, want the %d of a plain one", how, len(got), len(plain))
		}
		if diff := cmp.Diff(f.read("plain.mtree"), f.read("packed.mtree")); diff != "" {
			t.Errorf("%s: listings differ:\n%s", how, diff)
		}
	}
}

func TestSegmentRejectsLower(t *testing.T) {
	f := newFixture(t)
	f.mustSegment("base", nil, f.layer("l", dir("etc"), file("etc/motd", 0o644, "x"), link("dangling", "/none")))
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"file is there", []string{"--file=/etc/motd=" + f.write("x", nil)}, "place file /etc/motd: file already exists"},
		{"file over a directory", []string{"--file=/etc=" + f.write("x", nil)}, "place file /etc: file already exists"},
		{"below a file", []string{"--file=/etc/motd/x=" + f.write("x", nil)}, "place file /etc/motd/x: not a directory"},
		{"init that is no program", []string{"--file=/init=" + f.write("x", nil)}, "check /init: mode 0444 is not executable"},
		{"listing missing", []string{"--lower=" + f.path("no")}, "no: no such file or directory"},
		{"listing of other format", []string{"--lower=" + f.write("x", []byte("x"))}, `line 1: got "x", want #mtree`},
		{"listing without a directory", []string{"--lower=" + f.write("y", []byte("#mtree\n./a/b type=dir mode=0755 uid=0 gid=0\n"))}, "lstat a: file does not exist"},
		{"listing twice", []string{"--lower=" + f.path("base.mtree")}, "file already exists"},
	}
	for _, test := range tests {
		if _, err := f.segment("top", []string{"base"}, test.args...); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
}

func TestJoinRejects(t *testing.T) {
	f := newFixture(t)
	base := f.mustSegment("base", nil, f.layer("l", dir("d"), link("init", "sbin/init")))
	motd := "--file=/d/motd=" + f.write("x", nil)
	above := f.mustSegment("above", []string{"base"}, motd)
	alone := f.mustSegment("alone", nil, motd)
	unaligned := "--segment=" + f.path("above.mtree") + "=" + f.write("unaligned", []byte("x"))
	program := f.mustSegment("program", []string{"base"}, f.binary("/sbin/init"))
	isDir := "--segment=" + f.write("isdir.mtree", []byte("#mtree\n./init type=dir mode=0755 uid=0 gid=0\n")) + "=" + f.path("base.cpio")
	tests := []struct {
		name     string
		segments []string
		want     string
	}{
		{"no init", []string{base}, "check /init: lookup init: file does not exist"},
		{"init is a directory", []string{isDir}, "check /init: it is of type dir with mode 0755, want an executable file"},
		{"twice", []string{base, above, above}, "place file d/motd: file already exists"},
		{"not made for each other", []string{base, alone}, "place directory d: file already exists"},
		{"lower is missing", []string{above}, "lstat d: file does not exist"},
		{"segment is missing", []string{base, program, "--segment=" + f.path("above.mtree") + "=" + f.path("no")}, "no: no such file or directory"},
		{"listing is missing", []string{"--segment=" + f.path("no") + "=" + f.path("above.cpio")}, "no: no such file or directory"},
		{"not aligned", []string{base, program, unaligned}, "1 bytes are no multiple of 4"},
	}
	for _, test := range tests {
		if err := f.join(test.segments...); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
		if _, err := os.Stat(f.path("out.mtree")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: listing after an error: %v", test.name, err)
		}
	}
}
