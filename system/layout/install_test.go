package layout

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
)

// elfFile is a small ELF file with some content behind its header.
func elfFile(t *testing.T, kind elf.Type, content string) []byte {
	t.Helper()
	var file bytes.Buffer
	header := elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(kind),
		Machine: uint16(elf.EM_X86_64),
		Version: uint32(elf.EV_CURRENT),
		Ehsize:  64,
	}
	if err := binary.Write(&file, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	file.WriteString(content)
	return file.Bytes()
}

func digest(data []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "kernels"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	kernel := elfFile(t, elf.ET_EXEC, "kernel")
	for range 2 {
		path, err := Install(t.Context(), dir, "6.1.102", digest(kernel), bytes.NewReader(kernel))
		if err != nil {
			t.Fatal(err)
		}
		if path != KernelPathVersioned(dir, "6.1.102") {
			t.Errorf("got path %s", path)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, kernel) {
			t.Errorf("got %d bytes, error %v, want %d", len(got), err, len(kernel))
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("got mode %v, error %v, want 0644", info.Mode(), err)
		}
	}
	if got := names(t, dir); got != "vmlinux-6.1.102" {
		t.Errorf("folder has %q", got)
	}
	if _, version, err := LatestKernel(dir); err != nil || version != "6.1.102" {
		t.Errorf("newest is %s, error %v", version, err)
	}
}

func TestInstallKeepsOther(t *testing.T) {
	dir := t.TempDir()
	first, second := elfFile(t, elf.ET_EXEC, "first"), elfFile(t, elf.ET_EXEC, "second")
	path, err := Install(t.Context(), dir, "6.1.102", digest(first), bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Install(t.Context(), dir, "6.1.102", digest(second), bytes.NewReader(second))
	want := fmt.Sprintf("install kernel 6.1.102: %s is there with SHA-256 %s, want %s", path, digest(first), digest(second))
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, first) {
		t.Errorf("kernel has changed, error %v", err)
	}
}

func TestInstallRefuses(t *testing.T) {
	program := elfFile(t, elf.ET_EXEC, "kernel")
	broken := errors.New("broken")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name, version, digest string
		ctx                   context.Context
		content               io.Reader
		want                  string
	}{
		{name: "two numbers", version: "6.1", want: `version "6.1", want x.y.z`},
		{name: "candidate", version: "6.1.102-rc1", want: "want x.y.z"},
		{name: "path", version: "../../6.1.1", want: "want x.y.z"},
		{name: "zero in front", version: "6.01.2", want: "want x.y.z"},
		{name: "second line", version: "6.1.2\n", want: "want x.y.z"},
		{name: "short digest", digest: "abcd", want: `SHA-256 "abcd", want 64`},
		{name: "digest in upper case", digest: strings.ToUpper(digest(program)), want: "want 64"},
		{name: "other bytes", digest: digest(nil), want: fmt.Sprintf("file has SHA-256 %s (70 bytes), want %s", digest(program), digest(nil))},
		{name: "empty", content: strings.NewReader(""), want: `file begins with ""`},
		{name: "web page", content: strings.NewReader("<!doctype html>"), want: `file begins with "<!do", want an uncompressed ELF program`},
		{name: "compressed", content: strings.NewReader("\x1f\x8b\x08\x00"), want: "want an uncompressed ELF program"},
		{name: "header cut", digest: digest(program[:20]), content: bytes.NewReader(program[:20]), want: "read as ELF: "},
		{name: "object file", digest: digest(elfFile(t, elf.ET_REL, "")), content: bytes.NewReader(elfFile(t, elf.ET_REL, "")), want: "ELF type is ET_REL"},
		{name: "reader fails at once", content: iotest.ErrReader(broken), want: "install kernel 6.1.102: broken"},
		{name: "reader fails", content: io.MultiReader(bytes.NewReader(program[:64]), iotest.ErrReader(broken)), want: "install kernel 6.1.102: broken"},
		{name: "canceled", ctx: canceled, want: context.Canceled.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.version == "" {
				test.version = "6.1.102"
			}
			if test.digest == "" {
				test.digest = digest(program)
			}
			if test.content == nil {
				test.content = bytes.NewReader(program)
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			_, err := Install(test.ctx, dir, test.version, test.digest, test.content)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if got := names(t, dir); got != "" {
				t.Errorf("folder has %q", got)
			}
		})
	}
}

func TestInstallWithoutDirectory(t *testing.T) {
	kernel := elfFile(t, elf.ET_EXEC, "")
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := Install(t.Context(), dir, "6.1.1", digest(kernel), bytes.NewReader(kernel)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
}

// TestInstallSweeps checks that what a dead process left goes, and what a living
// one writes stays.
func TestInstallSweeps(t *testing.T) {
	dir := writeFiles(t, ".install-1", ".install-2")
	alive, err := os.Open(filepath.Join(dir, "kernels", ".install-2"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if err := syscall.Flock(int(alive.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	kernel := elfFile(t, elf.ET_EXEC, "")
	if _, err := Install(t.Context(), dir, "6.1.1", digest(kernel), bytes.NewReader(kernel)); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != ".install-2 vmlinux-6.1.1" {
		t.Errorf("folder has %q", got)
	}
}

func TestInstallInParallel(t *testing.T) {
	dir := t.TempDir()
	kernel := elfFile(t, elf.ET_EXEC, strings.Repeat("kernel", 1<<16))
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			version := fmt.Sprintf("6.1.%d", i%2)
			if _, err := Install(t.Context(), dir, version, digest(kernel), bytes.NewReader(kernel)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := names(t, dir); got != "vmlinux-6.1.0 vmlinux-6.1.1" {
		t.Errorf("folder has %q", got)
	}
}
