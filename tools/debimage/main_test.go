package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/deb/debtest"
)

// writePackage makes a package of regular files and gives its path and digest.
func writePackage(t *testing.T, name string, files ...string) (path, digest string) {
	t.Helper()
	var data bytes.Buffer
	archive := tar.NewWriter(&data)
	for _, file := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o644, Size: int64(len(name))}
		if strings.HasSuffix(file, "/") {
			header = &tar.Header{Typeflag: tar.TypeDir, Name: file, Mode: 0o755}
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := archive.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	content := debtest.Package(debtest.Version, debtest.Member{Name: "data.tar", Data: data.Bytes()})
	path = filepath.Join(t.TempDir(), name+".deb")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(content))
}

// list gives the layer's entries: of links the target, of files the content.
func list(t *testing.T, layer string) map[string]string {
	t.Helper()
	f, err := os.Open(layer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		entries[header.Name] = header.Linkname + string(content)
	}
}

func TestLayer(t *testing.T) {
	base, baseDigest := writePackage(t, "base", "./usr/share/base-passwd/group.master", "./usr/share/base-passwd/passwd.master", "./usr/share/doc/base/copyright")
	shell, shellDigest := writePackage(t, "shell", "./bin/", "./bin/sh", "./lib/x/y.so", "./usr/share/doc")
	out := filepath.Join(t.TempDir(), "layer.tar.gz")
	args := []string{
		"--package", base, "--sha256", baseDigest, "--package", shell, "--sha256", shellDigest,
		"--exclude", "/usr/share/doc", "--link", "usr/bin/awk=mawk", "--out", out,
	}
	if err := run(args, io.Discard); err != nil {
		t.Fatal(err)
	}
	got := list(t, out)
	for name, content := range got {
		if content == "" {
			delete(got, name) // a folder
		}
	}
	want := map[string]string{
		"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin",
		"etc/group": "base", "etc/passwd": "base",
		"usr/bin/awk": "mawk", "usr/bin/sh": "shell", "usr/lib/x/y.so": "shell",
		"usr/share/base-passwd/group.master": "base", "usr/share/base-passwd/passwd.master": "base",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	pkg, digest := writePackage(t, "shell", "./bin/sh")
	dir := t.TempDir()
	out := filepath.Join(dir, "layer.tar.gz")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no package", []string{"--out", out}, "flag --package is missing"},
		{"no output", []string{"--package", pkg, "--sha256", digest}, "flag --out is missing"},
		{"digest first", []string{"--sha256", digest}, "a --package must stand before it"},
		{"argument", []string{"--package", pkg, "x"}, `unexpected argument "x"`},
		{"link", []string{"--link", "x"}, `got "x", want NAME=TARGET`},
		{"another package", []string{"--package", pkg, "--sha256", strings.Repeat("0", 64), "--refetch", "bazel sync", "--out", out},
			"want " + strings.Repeat("0", 64) + "; it has changed since it was fetched, to fetch it again run: bazel sync"},
		{"no users", []string{"--package", pkg, "--sha256", digest, "--out", out}, "copy usr/share/base-passwd/group.master: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := run(test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if _, err := os.Lstat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("output is there: %v", err)
			}
		})
	}
}
