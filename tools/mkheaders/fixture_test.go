package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/tools/internal/deb/debtest"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

const release = "6.1.0-50-cloud-amd64"

type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o640, Size: int64(len(body))}, body}
}

func program(name string, machine elf.Machine) entry {
	e := file(name, string(elftest.Program(machine)))
	e.Mode = 0o700
	return e
}

func dir(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: "./" + name + "/", Mode: 0o700}, ""}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "./" + name, Linkname: target}, ""}
}

const (
	commonDir   = "usr/src/linux-headers-6.1.0-50-common/"
	specificDir = "usr/src/linux-headers-" + release + "/"
	kbuildDir   = "usr/lib/linux-kbuild-6.1/"
)

// packages are the three that make up the headers of an x86_64 kernel.
func packages() map[string][]entry {
	return map[string][]entry{
		"common": {
			dir("usr/src"), dir(commonDir[:len(commonDir)-1]), file(commonDir+"Makefile", "whole"),
			dir(commonDir + "arch"), dir(commonDir + "arch/x86"), file(commonDir+"arch/x86/Makefile", "x86"), dir(commonDir + "arch/x86_other"),
			file(commonDir+"arch/arm64/Makefile", "arm64"), link(commonDir+"scripts", "../../lib/linux-kbuild-6.1/scripts"),
			dir(commonDir + "include"), file(commonDir+"include/linux.h", "linux"), link(commonDir+"include/link.h", "linux.h"),
			file("usr/share/doc/x", "doc"),
		},
		"specific": {
			file(specificDir+"Makefile", "include x"), file(specificDir+".kernelvariables", "CC = gcc-12"), file(specificDir+"vmlinux", "BTF"), link(specificDir+"tools", "x"),
			file(specificDir+".config", "CONFIG_X=y"), file(specificDir+"Module.symvers", "0x1"), dir(specificDir + "include"),
			file(specificDir+"include/generated/autoconf.h", "#define X"),
			file(specificDir+"include/generated/utsrelease.h", "#define UTS_RELEASE \""+release+"\"\n"),
			link("lib/modules/"+release+"/build", "/usr/src/x"),
		},
		"kbuild": {
			program(kbuildDir+"scripts/basic/fixdep", elf.EM_X86_64), program(kbuildDir+"scripts/mod/modpost", elf.EM_X86_64),
			file(kbuildDir+"scripts/a.sh", "#!/bin/sh"), link("usr/src/linux-kbuild-6.1", "../lib/linux-kbuild-6.1"),
		},
	}
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
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

// debOf is a Debian package, deb(5).
func debOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	return debtest.Package(debtest.Version, debtest.Member{Name: "data.tar", Data: tarOf(t, entries)})
}

// save writes a file and gives the flags that make it a part.
func save(t *testing.T, dir, name string, data []byte) []string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--part", path, "--sha256", fmt.Sprintf("%x", sha256.Sum256(data)), "--refetch", "fetch " + name}
}

// description writes kernel.json and gives its path.
func description(t *testing.T, dir, arch, release string) string {
	t.Helper()
	d := bundle.KernelDescription{Version: bundle.KernelDescriptionVersion, Arch: arch, Release: release}
	data, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kernel.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
