package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"

	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

type entry struct {
	tar.Header
	body string
}

func dir(name string) entry {
	return entry{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}}
}

func file(name string, mode int64, body string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(body))}, body: body}
}

func link(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hard(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
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

func gzipOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// fixture is a folder with inputs of the tool.
type fixture struct {
	t   *testing.T
	dir string
}

func newFixture(t *testing.T) *fixture { return &fixture{t, t.TempDir()} }

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// write makes an input file and returns its path.
func (f *fixture) write(name string, data []byte) string {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

func (f *fixture) layer(name string, entries ...entry) string {
	f.t.Helper()
	return "--layer=" + f.write(name, gzipOf(f.t, tarOf(f.t, entries)))
}

// binary is a flag that places a static program.
func (f *fixture) binary(dest string) string {
	f.t.Helper()
	return "--binary=" + dest + "=" + f.write("program", elftest.Program(elf.EM_X86_64))
}

const release = "6.1.0-50-cloud-amd64"

// modules makes what kernelprep makes: a needs b and c_d, b needs c_d.
func (f *fixture) modules(change func(entries []entry) []entry) string {
	f.t.Helper()
	const dir = "lib/modules/" + release + "/"
	module := func(name string) entry {
		return file(dir+name, 0o644, string(elftest.Module(elf.EM_X86_64, name)))
	}
	entries := []entry{
		module("kernel/a.ko"), module("kernel/x/b.ko"), module("kernel/x/c-d.ko"), module("kernel/alone.ko"),
		file(dir+"modules.dep", 0o644, "kernel/a.ko: kernel/x/b.ko kernel/x/c-d.ko\nkernel/alone.ko:\nkernel/x/b.ko: kernel/x/c-d.ko\nkernel/x/c-d.ko:\n"),
		file(dir+"modules.builtin", 0o644, "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio-mmio.ko\n"),
	}
	if change != nil {
		entries = change(entries)
	}
	return "--modules=" + f.write("modules.tar", tarOf(f.t, entries))
}

// run makes a segment with outputs in the folder.
func (f *fixture) run(args ...string) error {
	var stdout, stderr bytes.Buffer
	args = append([]string{"segment", "--arch=x86_64", "--out=" + f.path("out.cpio"), "--listing=" + f.path("out.mtree")}, args...)
	err := run(args, &stdout, &stderr)
	if stdout.Len() != 0 {
		f.t.Errorf("stdout has %q", stdout.String())
	}
	return err
}

func (f *fixture) read(name string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// entries reads the archive back with an independent reader, one line each.
func (f *fixture) entries() []string {
	f.t.Helper()
	var lines []string
	r := cpio.NewReader(bytes.NewReader(f.read("out.cpio")))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			f.t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.DeviceID != 0 {
			f.t.Errorf("%s: time %v, device %d, want 0", h.Name, h.ModTime, h.DeviceID)
		}
		line := fmt.Sprintf("%d %s %06o %d:%d nlink %d", h.Inode, h.Name, uint32(h.Mode), h.Uid, h.Guid, h.Links)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if len(body) > 0 {
			line += fmt.Sprintf(" %d bytes", len(body))
		}
		lines = append(lines, line)
	}
}
