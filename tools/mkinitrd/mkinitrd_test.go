package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

func TestRun(t *testing.T) {
	f := newFixture(t)
	err := f.run(
		f.layer("1", dir("bin"), file("bin/busybox", 0o4755, "busybox"), link("sbin", "bin"), hard("bin/sh", "bin/busybox"), link("bin/ls", "busybox"), hard("bin/ll", "bin/ls"),
			entry{Header: tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 1 << 31, Gid: 5, ModTime: time.Unix(1e9, 0)}}),
		f.layer("2", file("bin/.wh.ls", 0, ""), file("sbin/tool", 0o755, "t"), file("odd name\n", 0o600, "")),
		f.binary("/init"), f.binary("opt/agent"),
		"--file=/etc/motd="+f.write("motd", []byte("hello")),
		f.modules(nil), "--module=c-d", "--module=ext4", "--module=a", "--module=virtio_mmio")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 . 040755 0:0 nlink 7",
		"2 bin 040755 0:0 nlink 2",
		"3 bin/busybox 104755 0:0 nlink 2",
		"4 bin/ll 120777 0:0 nlink 1 -> busybox",
		"3 bin/sh 104755 0:0 nlink 2 7 bytes",
		"6 bin/tool 100755 0:0 nlink 1 1 bytes",
		"7 etc 040755 0:0 nlink 2",
		"8 etc/modules 100444 0:0 nlink 1 6 bytes",
		"9 etc/motd 100444 0:0 nlink 1 5 bytes",
		"10 init 100555 0:0 nlink 1 120 bytes",
		"11 lib 040755 0:0 nlink 3",
		"12 lib/modules 040755 0:0 nlink 3",
		"13 lib/modules/" + release + " 040755 0:0 nlink 3",
		"14 lib/modules/" + release + "/kernel 040755 0:0 nlink 3",
		"15 lib/modules/" + release + "/kernel/a.ko 100444 0:0 nlink 1 131 bytes",
		"16 lib/modules/" + release + "/kernel/x 040755 0:0 nlink 2",
		"17 lib/modules/" + release + "/kernel/x/b.ko 100444 0:0 nlink 1 133 bytes",
		"18 lib/modules/" + release + "/kernel/x/c-d.ko 100444 0:0 nlink 1 135 bytes",
		"19 lib/modules/" + release + "/modules.dep 100444 0:0 nlink 1 91 bytes",
		"20 odd name\n 100600 0:0 nlink 1",
		"21 opt 040755 0:0 nlink 2",
		"22 opt/agent 100555 0:0 nlink 1 120 bytes",
		"23 sbin 120777 0:0 nlink 1 -> bin",
		"24 tmp 041777 2147483648:5 nlink 2",
	}
	if diff := cmp.Diff(want, f.entries()); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
	for _, text := range []string{"\x00c_d\na\n\x00", "\x00kernel/a.ko: kernel/x/b.ko kernel/x/c-d.ko\nkernel/x/b.ko: kernel/x/c-d.ko\nkernel/x/c-d.ko:\n\x00"} {
		if !bytes.Contains(f.read("out.cpio"), []byte(text)) {
			t.Errorf("archive has no file %q", text)
		}
	}
	listing := `#mtree
. type=dir mode=0755 uid=0 gid=0
./bin type=dir mode=0755 uid=0 gid=0
./bin/busybox type=file mode=4755 uid=0 gid=0 size=7 sha256digest=9d75f0d7c398df565d7ac04c6819b62d6d8f9560f5eb4672596ecd8f7e96ae91 nlink=2
./bin/ll type=link mode=0777 uid=0 gid=0 link=busybox
./bin/sh type=file mode=4755 uid=0 gid=0 size=7 sha256digest=9d75f0d7c398df565d7ac04c6819b62d6d8f9560f5eb4672596ecd8f7e96ae91 nlink=2
./bin/tool type=file mode=0755 uid=0 gid=0 size=1 sha256digest=e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8
./etc type=dir mode=0755 uid=0 gid=0
./etc/modules type=file mode=0444 uid=0 gid=0 size=6 sha256digest=1f93090a19547ab29e6350f7fb335bfa07cf96a58c46dad56ec7857b21ce96dd
./etc/motd type=file mode=0444 uid=0 gid=0 size=5 sha256digest=2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
./init type=file mode=0555 uid=0 gid=0
`
	got := string(f.read("out.mtree"))
	head, rest, _ := strings.Cut(got, "./lib ")
	if diff := cmp.Diff(listing, head); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		`./odd\040name\012 type=file mode=0600 uid=0 gid=0 size=0 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`,
		"./opt/agent type=file mode=0555 uid=0 gid=0",
		"./tmp type=dir mode=1777 uid=2147483648 gid=5",
	} {
		if !strings.Contains(rest, "\n"+line+"\n") {
			t.Errorf("listing has no line %s:\n%s", line, rest)
		}
	}
}

func TestSameBytes(t *testing.T) {
	base := newFixture(t)
	outputs := func(f *fixture) [2]string {
		return [2]string{string(f.read("out.cpio")), string(f.read("out.mtree"))}
	}
	args := func(f *fixture) []string {
		return []string{f.layer("l", dir("bin"), file("bin/sh", 0o755, "sh")), f.modules(nil), "--module=a",
			f.binary("/init"), f.binary("/bin/agent"), f.binary("/a/b/c"),
			"--file=/etc/x=" + f.write("x", []byte("x")), "--file=/etc/y=" + f.write("y", []byte("y"))}
	}
	if err := base.run(args(base)...); err != nil {
		t.Fatal(err)
	}
	want := outputs(base)
	tests := []struct {
		name   string
		change func(t *testing.T, f *fixture, args []string)
	}{
		{"again", func(*testing.T, *fixture, []string) {}},
		{"other order", func(_ *testing.T, _ *fixture, args []string) { slices.Reverse(args) }},
		{"umask", func(t *testing.T, _ *fixture, _ []string) {
			old := syscall.Umask(0o077)
			t.Cleanup(func() { syscall.Umask(old) })
		}},
		{"TMPDIR", func(t *testing.T, f *fixture, _ []string) { t.Setenv("TMPDIR", f.dir) }},
		{"TZ", func(t *testing.T, _ *fixture, _ []string) { t.Setenv("TZ", "Asia/Tokyo") }},
		{"times of inputs", func(t *testing.T, f *fixture, _ []string) {
			for _, name := range []string{"l", "x", "program", "modules.tar"} {
				if err := os.Chtimes(f.path(name), time.Time{}, time.Unix(1e9, 0)); err != nil {
					t.Fatal(err)
				}
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			args := args(f)
			test.change(t, f, args)
			if err := f.run(args...); err != nil {
				t.Fatal(err)
			}
			if got := outputs(f); got != want {
				t.Errorf("outputs differ (-want +got):\n%s", cmp.Diff(want, got))
			}
			info, err := os.Stat(f.path("out.cpio"))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode(); got != 0o644 {
				t.Errorf("archive has mode %v, want 0644", got)
			}
		})
	}
}

func TestParamFile(t *testing.T) {
	f := newFixture(t)
	lines := []string{"--arch", "x86_64", f.binary("/init"), "--file=/@x=" + f.write("@x", []byte("x")), "--out", f.path("out.cpio"), "--listing", f.path("out.mtree")}
	params := f.write("params", []byte(strings.Join(lines, "\n")+"\n"))
	var stdout, stderr bytes.Buffer
	if err := run([]string{"segment", "@" + params, "--binary=/agent=" + f.path("program")}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 . 040755 0:0 nlink 2", "2 @x 100444 0:0 nlink 1 1 bytes", "3 agent 100555 0:0 nlink 1 120 bytes", "4 init 100555 0:0 nlink 1 120 bytes"}
	if diff := cmp.Diff(want, f.entries()); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
	// A line of the file is no file again.
	nested := f.write("nested", []byte("@"+params+"\n"))
	if err := run([]string{"segment", "@" + nested}, &stdout, &stderr); err == nil || err.Error() != `unexpected argument "@`+params+`"` {
		t.Errorf("nested param file: got error %v", err)
	}
}

func TestUsage(t *testing.T) {
	f := newFixture(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "want segment or join as first argument"},
		{"unknown verb", []string{"make"}, "want segment or join as first argument"},
		{"no out", []string{"segment"}, "flag --out is missing"},
		{"no listing", []string{"segment", "--out=x"}, "flag --listing is missing"},
		{"no arch", []string{"segment", "--out=x", "--listing=x"}, `architecture "" is neither x86_64 nor aarch64`},
		{"other arch", []string{"segment", "--out=x", "--listing=x", "--arch=amd64"}, `architecture "amd64" is neither x86_64 nor aarch64`},
		{"argument", []string{"segment", "--out=x", "y"}, `unexpected argument "y"`},
		{"unknown flag", []string{"segment", "--nope"}, "flag provided but not defined: -nope"},
		{"binary without file", []string{"segment", "--binary=/init"}, `invalid value "/init" for flag -binary: want two names with = between them`},
		{"file without dest", []string{"segment", "--file==x"}, `invalid value "=x" for flag -file: want two names with = between them`},
		{"module without modules", []string{"segment", "--out=x", "--listing=x", "--module=a"}, "a module needs the flag --modules"},
		{"layer on top", []string{"segment", "--out=x", "--listing=x", "--lower=a", "--layer=b"}, "a segment with --layer must be the lowest: cpio archives cannot remove files"},
		{"compression", []string{"segment", "--out=x", "--listing=x", "--compression=lz4"}, `compression "lz4" is not none, zstd or zstd-fast`},
		{"join without out", []string{"join"}, "flag --out is missing"},
		{"join without listing", []string{"join", "--out=x"}, "flag --listing is missing"},
		{"join of nothing", []string{"join", "--out=x", "--listing=x"}, "flag --segment is missing"},
		{"join of an argument", []string{"join", "y"}, `unexpected argument "y"`},
		{"param file missing", []string{"segment", "@" + f.path("no")}, "read param file: open " + f.path("no") + ": no such file or directory"},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		if err := run(test.args, &stdout, &stderr); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
		if stdout.Len() != 0 {
			t.Errorf("%s: stdout has %q", test.name, stdout.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if err := run([]string{"segment", "--help"}, &stdout, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: got error %v", err)
	}
	if !strings.Contains(stdout.String(), "-layer FILE") || stderr.Len() != 0 {
		t.Errorf("--help: stdout has %q, stderr has %q", stdout.String(), stderr.String())
	}
}

func TestRunRejects(t *testing.T) {
	arm := func(f *fixture) string { return f.write("arm", elftest.Program(elf.EM_AARCH64)) }
	dynamic := func(f *fixture) string {
		return f.write("dynamic", elftest.Image(elf.EM_X86_64, elf.ET_DYN, elf.PT_INTERP, []byte("/lib/ld.so")))
	}
	tests := []struct {
		name string
		args func(f *fixture) []string
		want string
	}{
		{"init not executable", func(f *fixture) []string { return []string{"--file=/init=" + f.write("x", nil)} }, "check /init: mode 0444 is not executable"},
		{"init is a directory", func(f *fixture) []string { return []string{f.layer("l", dir("init"))} }, "check /init: it is of type dir, want a regular file"},
		{"init of a layer for another machine", func(f *fixture) []string {
			return []string{f.layer("l", file("init", 0o755, string(elftest.Program(elf.EM_AARCH64))))}
		}, "check /init: ELF file is for EM_AARCH64, want EM_X86_64"},
		{"init is no program", func(f *fixture) []string { return []string{f.layer("l", file("init", 0o755, " #!/bin/sh\n"))} }, "check /init: read ELF: EOF"},
		{"script without interpreter", func(f *fixture) []string { return []string{f.layer("l", file("init", 0o755, "#!/bin/sh -e\n"))} }, "check /init: find interpreter: lookup /bin/sh: file does not exist"},
		{"script, interpreter not executable", func(f *fixture) []string {
			return []string{f.layer("l", file("init", 0o755, "#! /bin/sh\n"), file("bin/sh", 0o644, ""))}
		}, "check /init: interpreter /bin/sh is not an executable file"},
		{"empty script", func(f *fixture) []string { return []string{f.layer("l", file("init", 0o755, "#!\n"))} }, "check /init: script names no interpreter"},

		{"binary for another machine", func(f *fixture) []string { return []string{"--binary=/init=" + arm(f)} }, "arm for /init: ELF file is for EM_AARCH64, want EM_X86_64"},
		{"dynamic binary", func(f *fixture) []string { return []string{"--binary=/init=" + dynamic(f)} }, "dynamic for /init: program is not static: it has an interpreter"},
		{"binary missing", func(f *fixture) []string { return []string{"--binary=/init=" + f.path("no")} }, "no: no such file or directory"},
		{"binary is a directory", func(f *fixture) []string { return []string{"--binary=/init=" + f.dir} }, " is not a regular file"},
		{"duplicate binary", func(f *fixture) []string { return []string{f.binary("/init"), f.binary("init")} }, "place file init: file already exists"},
		{"binary over a layer", func(f *fixture) []string {
			return []string{f.layer("l", file("init", 0o755, "")), f.binary("/init")}
		}, "place file /init: file already exists"},
		{"file below a file", func(f *fixture) []string {
			return []string{f.binary("/init"), "--file=/init/x=" + f.write("x", nil)}
		}, "place file /init/x: not a directory"},
		{"file outside", func(f *fixture) []string { return []string{"--file=/../x=" + f.write("x", nil)} }, `place file /../x: name contains ".."`},

		{"layer missing", func(f *fixture) []string { return []string{"--layer=" + f.path("no")} }, "no: no such file or directory"},
		{"bad layer", func(f *fixture) []string { return []string{f.layer("l", file("../x", 0o644, ""))} }, `l: apply "../x": name contains ".."`},
		{"cut layer", func(f *fixture) []string {
			data := gzipOf(t, tarOf(t, []entry{file("x", 0o644, "x")}))
			return []string{"--layer=" + f.write("l", data[:len(data)-9])}
		}, "l: read tar: unexpected EOF"},
		{"device", func(f *fixture) []string {
			return []string{f.binary("/init"), f.layer("l", entry{Header: tar.Header{Name: "dev/console", Typeflag: tar.TypeChar, Devmajor: 5, Devminor: 1}})}
		}, "archive /dev/console: it is of type char; the guest's devtmpfs provides device nodes"},
		{"FIFO", func(f *fixture) []string {
			return []string{f.binary("/init"), f.layer("l", entry{Header: tar.Header{Name: "p", Typeflag: tar.TypeFifo}})}
		}, "archive /p: it is of type fifo; the guest's devtmpfs provides device nodes"},
		{"extended attribute", func(f *fixture) []string {
			return []string{f.binary("/init"), f.layer("l", entry{Header: tar.Header{Name: "ping", PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}})}
		}, "archive /ping: extended attributes do not fit into a cpio archive"},
		{"extended attribute of the root", func(f *fixture) []string {
			return []string{f.binary("/init"), f.layer("l", entry{Header: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "x"}}})}
		}, "archive /.: extended attributes do not fit into a cpio archive"},
		{"name that ends an archive", func(f *fixture) []string { return []string{f.binary("/init"), f.binary("/TRAILER!!!")} }, `archive /TRAILER!!!: write entry "TRAILER!!!": name marks the end of an archive`},

		{"unknown module", func(f *fixture) []string { return []string{f.modules(nil), "--module=virtio-blk"} }, "kernel " + release + " has no module virtio-blk"},
		{"module and optional module", func(f *fixture) []string { return []string{f.modules(nil), "--module=c-d", "--optional-module=c_d"} }, "module c_d is named twice"},
		{"module twice", func(f *fixture) []string { return []string{f.modules(nil), "--module=c-d", "--module=c_d"} }, "module c_d is named twice"},
		{"modules missing", func(f *fixture) []string { return []string{"--modules=" + f.path("no")} }, "no: no such file or directory"},
		{"no modules in it", func(f *fixture) []string { return []string{f.modules(func(e []entry) []entry { return nil })} }, "there is no lib/modules/RELEASE"},
		{"two kernels", func(f *fixture) []string {
			return []string{f.modules(func(e []entry) []entry { return append(e, file("lib/modules/7/x", 0o644, "")) })}
		}, "modules are of " + release + " and of 7"},
		{"no modules.dep", func(f *fixture) []string {
			return []string{f.modules(func(e []entry) []entry { return slices.Delete(e, 4, 5) })}
		}, "lookup lib/modules/" + release + "/modules.dep: file does not exist"},
		{"no modules.builtin", func(f *fixture) []string { return []string{f.modules(func(e []entry) []entry { return e[:5] })} }, "lookup lib/modules/" + release + "/modules.builtin: file does not exist"},
		{"bad modules.dep", func(f *fixture) []string { return []string{f.modules(replaceDep("x.ko:\n\ny.ko\n"))} }, `read modules.dep, line 3: "y.ko" is not a module and a colon`},
		{"two files of a name", func(f *fixture) []string { return []string{f.modules(replaceDep("a-b.ko:\nx/a_b.ko:\n"))} }, `read modules.dep, line 2: module a_b is both a-b.ko and x/a_b.ko`},
		{"needed module missing", func(f *fixture) []string { return []string{f.modules(replaceDep("kernel/a.ko: b.ko\n")), "--module=a"} }, "module a needs b.ko, which modules.dep does not have"},
		{"module's file missing", func(f *fixture) []string { return []string{f.modules(replaceDep("x.ko:\n")), "--module=x"} }, "place module x.ko: lstat lib/modules/" + release + "/x.ko: file does not exist"},
		{"module is a directory", func(f *fixture) []string { return []string{f.modules(replaceDep("kernel/x:\n")), "--module=x"} }, "place module kernel/x: it is of type dir, want a regular file"},
		{"module for another machine", func(f *fixture) []string {
			return []string{f.modules(func(e []entry) []entry {
				e[3].body = string(elftest.Module(elf.EM_AARCH64, "kernel/alone.ko"))
				return e
			}), "--module=alone"}
		}, "place module kernel/alone.ko: ELF file is for EM_AARCH64, want EM_X86_64"},
		{"list of modules is there", func(f *fixture) []string {
			return []string{f.layer("l", file("etc/modules", 0o644, "")), f.modules(nil)}
		}, "place file etc/modules: file already exists"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			err := f.run(test.args(f)...)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got error %v\nwant %s", err, test.want)
			}
			for _, name := range []string{"out.cpio", "out.mtree"} {
				if _, err := os.Stat(f.path(name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s after an error: %v", name, err)
				}
			}
			if left, err := filepath.Glob(f.path(".out*")); err != nil || len(left) > 0 {
				t.Errorf("temporary files left: %v, %v", left, err)
			}
		})
	}
}

func replaceDep(text string) func([]entry) []entry {
	return func(e []entry) []entry {
		e[4].body, e[4].Size = text, int64(len(text))
		return e
	}
}

func TestOutputRejects(t *testing.T) {
	f := newFixture(t)
	init := f.binary("/init")
	for _, flags := range [][]string{{"--out=" + f.path("no/out")}, {"--listing=" + f.path("no/out")}} {
		if err := f.run(append([]string{init}, flags...)...); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: got error %v", flags, err)
		}
	}
}

func TestAccepts(t *testing.T) {
	tests := []struct {
		name string
		args func(f *fixture) []string
		want []string
	}{
		{"init behind a link", func(f *fixture) []string {
			return []string{f.layer("l", link("init", "/sbin/init")), f.binary("sbin/init")}
		},
			[]string{"1 . 040755 0:0 nlink 3", "2 init 120777 0:0 nlink 1 -> /sbin/init", "3 sbin 040755 0:0 nlink 2", "4 sbin/init 100555 0:0 nlink 1 120 bytes"}},
		{"init is a script", func(f *fixture) []string {
			return []string{f.layer("l", file("init", 0o755, "#! /sh -e")), f.binary("sh")}
		},
			[]string{"1 . 040755 0:0 nlink 2", "2 init 100755 0:0 nlink 1 9 bytes", "3 sh 100555 0:0 nlink 1 120 bytes"}},
		{"root of its own", func(f *fixture) []string {
			root := dir(".")
			root.Mode, root.Uid = 0o700, 7
			return []string{f.layer("l", root, dir("d")), f.binary("init")}
		}, []string{"1 . 040700 7:0 nlink 3", "2 d 040755 0:0 nlink 2", "3 init 100555 0:0 nlink 1 120 bytes"}},
		{"optional modules", func(f *fixture) []string {
			return []string{f.modules(nil), "--module=alone", "--optional-module=b", "--optional-module=ext4"}
		}, []string{"1 . 040755 0:0 nlink 4", "2 etc 040755 0:0 nlink 2", "3 etc/modules 100444 0:0 nlink 1 6 bytes", "4 lib 040755 0:0 nlink 3", "5 lib/modules 040755 0:0 nlink 3",
			"6 lib/modules/" + release + " 040755 0:0 nlink 3", "7 lib/modules/" + release + "/kernel 040755 0:0 nlink 3",
			"8 lib/modules/" + release + "/kernel/alone.ko 100444 0:0 nlink 1 135 bytes", "9 lib/modules/" + release + "/kernel/x 040755 0:0 nlink 2",
			"10 lib/modules/" + release + "/kernel/x/b.ko 100444 0:0 nlink 1 133 bytes", "11 lib/modules/" + release + "/kernel/x/c-d.ko 100444 0:0 nlink 1 135 bytes",
			"12 lib/modules/" + release + "/modules.dep 100444 0:0 nlink 1 65 bytes"}},
		{"no modules wanted", func(f *fixture) []string { return []string{f.binary("init"), f.modules(nil)} },
			[]string{"1 . 040755 0:0 nlink 4", "2 etc 040755 0:0 nlink 2", "3 etc/modules 100444 0:0 nlink 1", "4 init 100555 0:0 nlink 1 120 bytes", "5 lib 040755 0:0 nlink 3",
				"6 lib/modules 040755 0:0 nlink 3", "7 lib/modules/" + release + " 040755 0:0 nlink 2", "8 lib/modules/" + release + "/modules.dep 100444 0:0 nlink 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			if err := f.run(test.args(f)...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, f.entries()); diff != "" {
				t.Errorf("archive (-want +got):\n%s", diff)
			}
		})
	}
}
