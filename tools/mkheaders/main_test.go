package main

import (
	"archive/tar"
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
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// makeIn runs the tool on packages, with its output in dir.
func makeIn(t *testing.T, dir string, packages map[string][]entry, more ...string) error {
	t.Helper()
	args := []string{"--arch=x86_64", "--glibc=2.36", "--description=" + description(t, t.TempDir(), "x86_64", release), "--out=" + filepath.Join(dir, "out")}
	in := t.TempDir()
	for _, name := range []string{"specific", "common", "kbuild"} {
		args = append(args, save(t, in, name+".deb", debOf(t, packages[name]))...)
	}
	return run(append(args, more...), io.Discard)
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := makeIn(t, dir, packages()); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(image), "hsqs") {
		t.Errorf("image starts with %q, want squashfs", image[:4])
	}
	again := t.TempDir()
	if err := makeIn(t, again, packages()); err != nil {
		t.Fatal(err)
	}
	if other, err := os.ReadFile(filepath.Join(again, "out")); err != nil || !slices.Equal(image, other) {
		t.Errorf("second image differs: %d and %d bytes, %v", len(image), len(other), err)
	}
}

// TestFormat checks that a tarball has the same folder as the image.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	if err := makeIn(t, dir, packages(), "--format=tar.gz"); err != nil {
		t.Fatal(err)
	}
	tree, err := fstree.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}()
	file, err := os.Open(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := tree.AddBlob(file); err != nil {
		t.Fatal(err)
	}
	if err := check(tree, "x86_64", release, "2.36"); err != nil {
		t.Error(err)
	}
}

// TestTree checks what is in the folder.
func TestTree(t *testing.T) {
	tree, err := fstree.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}()
	in := t.TempDir()
	for name, entries := range packages() {
		flags := save(t, in, name+".deb", debOf(t, entries))
		if err := addPart(tree, &part{name: flags[1], sha256: flags[3]}, "x86_64"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for name, n := range tree.All() {
		got = append(got, fmt.Sprintf("%s %v %04o %s", name, n.Type, n.Mode, n.Target))
	}
	want := []string{
		".config file 0644 ", "Makefile file 0644 ", "Module.symvers file 0644 ", "arch dir 0755 ", "arch/x86 dir 0755 ", "arch/x86/Makefile file 0644 ",
		"include dir 0755 ", "include/generated dir 0755 ", "include/generated/autoconf.h file 0644 ", "include/generated/utsrelease.h file 0644 ",
		"include/link.h link 0777 linux.h", "include/linux.h file 0644 ",
		"scripts dir 0755 ", "scripts/a.sh file 0644 ", "scripts/basic dir 0755 ", "scripts/basic/fixdep file 0755 ", "scripts/mod dir 0755 ", "scripts/mod/modpost file 0755 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	n, err := tree.Lookup("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(tree.Open(n)); err != nil || string(text) != "whole" {
		t.Errorf("Makefile is %q, %v, want that of -common", text, err)
	}
}

func TestRunRejects(t *testing.T) {
	change := func(name string, f func([]entry) []entry) map[string][]entry {
		p := packages()
		p[name] = f(p[name])
		return p
	}
	without := func(name, path string) map[string][]entry {
		return change(name, func(e []entry) []entry {
			return slices.DeleteFunc(e, func(e entry) bool { return strings.HasSuffix(e.Name, path) })
		})
	}
	with := func(name string, more ...entry) map[string][]entry {
		return change(name, func(e []entry) []entry { return append(e, more...) })
	}
	hardLink := file(kbuildDir+"scripts/hard", "")
	hardLink.Typeflag, hardLink.Linkname = tar.TypeLink, "x"
	tests := []struct {
		name     string
		packages map[string][]entry
		more     []string
		want     string
	}{
		{"no common", without("common", "/Makefile"), nil, "check headers: lookup Makefile: file does not exist"},
		{"no symbol versions", without("specific", "Module.symvers"), nil, "check headers: lookup Module.symvers: file does not exist"},
		{"no modpost", without("kbuild", "modpost"), nil, "check headers: lookup scripts/mod/modpost: file does not exist"},
		{"no release", without("specific", "utsrelease.h"), nil, "check headers: lookup include/generated/utsrelease.h: file does not exist"},
		{"other release", packages(), []string{"--description=" + description(t, t.TempDir(), "x86_64", "7")}, `headers are of release "` + release + `", the kernel is of "7"`},
		{"programs for another machine", with("kbuild", program(kbuildDir+"scripts/x", elf.EM_AARCH64)), nil, "check headers: check scripts/x: ELF file is for EM_AARCH64, want EM_X86_64"},
		{"file twice", with("kbuild", file(kbuildDir+"include/linux.h", "other")), nil, "file already exists"},
		{"hard link", with("kbuild", hardLink), nil, `add "usr/lib/linux-kbuild-6.1/scripts/hard": it is of type '1', want a file, folder or link`},
		{"kernel for another machine", packages(), []string{"--description=" + description(t, t.TempDir(), "aarch64", release)}, "kernel is for aarch64, want x86_64"},
		{"unknown format", packages(), []string{"--format=zip"}, `format "zip" is unknown, want squashfs or tar.gz`},
		{"no description", packages(), []string{"--description=none"}, "open none: no such file or directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := makeIn(t, dir, test.packages, test.more...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "out")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("output after an error: %v", err)
			}
		})
	}
}

// TestTarball takes headers that their publisher ships as one tree.
func TestTarball(t *testing.T) {
	var entries []entry
	for _, list := range packages() {
		for _, e := range list {
			if dest, ok := place(strings.TrimPrefix(e.Name, "./"), e.Typeflag, "x86_64"); ok && e.Typeflag == tar.TypeReg {
				e.Name = dest
				entries = append(entries, e)
			}
		}
	}
	flags := save(t, t.TempDir(), "headers.tar", tarOf(t, entries))
	args := []string{"--arch=x86_64", "--glibc=2.36", "--description=" + description(t, t.TempDir(), "x86_64", release), "--out=" + filepath.Join(t.TempDir(), "out")}
	if err := run(append(args, flags...), io.Discard); err != nil {
		t.Fatal(err)
	}
	flags[3] = strings.Repeat("0", 64)
	if err := run(append(args, flags...), io.Discard); err == nil || !strings.HasSuffix(err.Error(), "to fetch it again run: fetch headers.tar") {
		t.Errorf("other bytes: got error %v", err)
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "missing flag --arch"},
		{[]string{"x"}, `unexpected argument "x"`},
		{[]string{"--arch=a", "--description=b", "--glibc=c", "--out=d"}, "missing flag --part"},
		{[]string{"--arch=amd64", "--description=b", "--glibc=c", "--out=d", "--part=e"}, `architecture "amd64" is neither x86_64 nor aarch64`},
		{[]string{"--sha256=a"}, `invalid value "a" for flag -sha256: a --part must stand before it`},
		{[]string{"-h"}, flag.ErrHelp.Error()},
	}
	for _, test := range tests {
		if err := run(test.args, io.Discard); err == nil || err.Error() != test.want {
			t.Errorf("%q: got error %v, want %s", test.args, err, test.want)
		}
	}
}

func TestNewer(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"2.36", "2.36", false}, {"2.37", "2.36", true}, {"2.4", "2.36", false}, {"2.36.1", "2.36", true}, {"2", "2.0", false}, {"3", "2.36", true},
	}
	for _, test := range tests {
		if got := newer(test.a, test.b); got != test.want {
			t.Errorf("newer(%s, %s) = %v", test.a, test.b, got)
		}
	}
}
