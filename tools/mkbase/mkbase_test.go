package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/deb/debtest"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

// someApplets are as many names as a real busybox has, sorted.
func someApplets() []string {
	names := []string{"[", "[[", "busybox", "echo", "mount", "sh"}
	for i := range minApplets {
		names = append(names, fmt.Sprintf("applet%d", i))
	}
	slices.Sort(names)
	return names
}

// program is a static ELF file with a list of names in it.
func program(machine elf.Machine, kind elf.ProgType, names []string) []byte {
	return elftest.Image(machine, elf.ET_EXEC, kind, []byte("usage\x00"+strings.Join(names, "\x00")+"\x00\x00\x01\x02"))
}

// pack makes a package with files of the given names, which all have content.
func pack(t *testing.T, content []byte, names ...string) []byte {
	t.Helper()
	var data bytes.Buffer
	compressor := gzip.NewWriter(&data)
	archive := tar.NewWriter(compressor)
	for _, name := range append([]string{"./usr/share/doc/copyright"}, names...) {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), compressor.Close()); err != nil {
		t.Fatal(err)
	}
	return debtest.Package(debtest.Version, debtest.Member{Name: "data.tar.gz", Data: data.Bytes()})
}

// fixture writes a package and returns the arguments to use it with.
func fixture(t *testing.T, pkg []byte) (args []string, out string) {
	t.Helper()
	dir := t.TempDir()
	path, out := filepath.Join(dir, "busybox.deb"), filepath.Join(dir, "layer.tar.gz")
	if err := os.WriteFile(path, pkg, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--deb", path, "--sha256", fmt.Sprintf("%x", sha256.Sum256(pkg)), "--arch", "x86_64", "--out", out}, out
}

// entries reads a layer, one line each.
func entries(t *testing.T, layer []byte) []string {
	t.Helper()
	decompressor, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	if decompressor.Name != "" || !decompressor.ModTime.IsZero() {
		t.Errorf("gzip header has %+v, want no name and time", decompressor.Header)
	}
	var lines []string
	archive := tar.NewReader(decompressor)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: time %v, owner %d:%d, want 0", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%s %04o %s", h.Name, h.Mode, h.Linkname), " "))
	}
}

func TestRun(t *testing.T) {
	for _, name := range []string{"./bin/busybox", "./usr/bin/busybox"} {
		args, out := fixture(t, pack(t, program(elf.EM_X86_64, elf.PT_LOAD, someApplets()), name))
		if err := run(args, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"./ 0755", "bin/ 0755"}
		for _, name := range someApplets() {
			if name == "busybox" {
				want = append(want, "bin/busybox 0755")
			} else {
				want = append(want, "bin/"+name+" 0777 busybox")
			}
		}
		want = append(want, "dev/ 0755", "etc/ 0755", "etc/group 0644", "etc/passwd 0644", "proc/ 0555", "root/ 0700", "run/ 0755",
			"sbin 0777 bin", "sys/ 0555", "tmp/ 1777", "usr/ 0755", "usr/bin 0777 ../bin", "usr/sbin 0777 ../bin", "var/ 0755", "var/tmp/ 1777")
		if diff := cmp.Diff(want, entries(t, first)); diff != "" {
			t.Errorf("layer (-want +got):\n%s", diff)
		}
		old := syscall.Umask(0o077)
		err = run(args, io.Discard, io.Discard)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Error("second layer differs from the first")
		}
		if info, err := os.Stat(out); err != nil || info.Mode() != 0o644 {
			t.Errorf("layer has mode %v, %v, want 0644", info.Mode(), err)
		}
	}
}

func TestRunRejects(t *testing.T) {
	good := program(elf.EM_X86_64, elf.PT_LOAD, someApplets())
	tests := []struct {
		name   string
		pkg    []byte
		change func(args []string)
		want   string
	}{
		{"wrong digest", pack(t, good, "bin/busybox"), func(args []string) { args[3] = strings.Repeat("0", 64) },
			", want " + strings.Repeat("0", 64)},
		{"no busybox", pack(t, good, "bin/toybox"), nil, "there is no /bin/busybox"},
		{"two of them", pack(t, good, "bin/busybox", "usr/bin/busybox"), nil, "package has both /bin/busybox and /usr/bin/busybox"},
		{"other machine", pack(t, program(elf.EM_AARCH64, elf.PT_LOAD, someApplets()), "bin/busybox"), nil, "ELF file is for EM_AARCH64, want EM_X86_64"},
		{"dynamic", pack(t, program(elf.EM_X86_64, elf.PT_INTERP, someApplets()), "bin/busybox"), nil, "program is not static: it has an interpreter"},
		{"no applets", pack(t, elftest.Program(elf.EM_X86_64), "bin/busybox"), nil, "the program has no list that starts with [ and [["},
		{"no package", []byte("<html>"), nil, "read ar magic: unexpected EOF"},
		{"package missing", nil, func(args []string) { args[1] += "x" }, "busybox.debx: no such file or directory"},
		{"no place", pack(t, good, "bin/busybox"), func(args []string) { args[7] += "/x" }, "no such file or directory"},
		{"unknown architecture", nil, func(args []string) { args[5] = "arm64" }, `architecture "arm64" is neither x86_64 nor aarch64`},
		{"flag missing", nil, func(args []string) { args[3] = "" }, "flag --sha256 is missing"},
		{"argument", nil, func(args []string) { args[6], args[7] = "x", "y" }, `unexpected argument "x"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args, out := fixture(t, test.pkg)
			if test.change != nil {
				test.change(args)
			}
			if err := run(args, io.Discard, io.Discard); err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got error %v\nwant %s", err, test.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("layer after an error: %v", err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if err := run([]string{"--help"}, &stdout, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got error %v", err)
	}
	if !strings.Contains(stdout.String(), "-deb FILE") || stderr.Len() != 0 {
		t.Errorf("stdout has %q, stderr has %q", stdout.String(), stderr.String())
	}
}

func TestAppletsRejects(t *testing.T) {
	without := func(name string) []string {
		names := someApplets()
		return slices.Delete(names, slices.Index(names, name), slices.Index(names, name)+1)
	}
	tests := []struct {
		name  string
		names []string
		want  string
	}{
		{"few", []string{"[", "[[", "echo", "mount", "sh"}, "the list has 5 names, fewer than 200"},
		{"not sorted", append(someApplets(), "a"), "the list is not sorted"},
		{"twice", append(someApplets(), "zz", "zz"), "the list has a name twice"},
		{"no sh", without("sh"), "the list has no sh"},
		{"no mount", without("mount"), "the list has no mount"},
		{"no echo", without("echo"), "the list has no echo"},
		{"slash", append(someApplets(), "x/y"), `the list has "x/y", which is not a name`},
		{"not ASCII", append(someApplets(), "x\xff"), `the list has "x\xff", which is not a name`},
		{"space", append(someApplets(), "x y"), `the list has "x y", which is not a name`},
	}
	for _, test := range tests {
		if _, err := applets(program(elf.EM_X86_64, elf.PT_LOAD, test.names)); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
	if _, err := applets([]byte("\x00[\x00[[\x00ash")); err == nil || err.Error() != "the list has no end" {
		t.Errorf("no end: got error %v", err)
	}
}

func FuzzApplets(f *testing.F) {
	f.Add(program(elf.EM_X86_64, elf.PT_LOAD, someApplets()))
	f.Add([]byte("\x00[\x00[[\x00\x00"))
	f.Fuzz(func(t *testing.T, busybox []byte) {
		names, err := applets(busybox)
		if err != nil {
			return
		}
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, "/\x00") {
				t.Errorf("applet %q", name)
			}
		}
	})
}
