//go:build vm

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/klauspost/compress/zstd"
)

const source = `#include <linux/module.h>
#include <linux/netdevice.h>
static int __init hello(void) { pr_info("hello\n"); return netif_carrier_ok(NULL) ? 0 : -EINVAL; }
module_init(hello);
MODULE_LICENSE("GPL");
`

// TestModule builds a module as a guest's user does, with this machine's gcc and
// make, and compares what it says it is for with a module of the kernel.
func TestModule(t *testing.T) {
	for _, kernel := range []string{"linux-6.1.0-50-cloud", "linux-6.12.95-cloud"} {
		t.Run(kernel, func(t *testing.T) {
			dir := t.TempDir()
			headers, module := filepath.Join(dir, "headers"), filepath.Join(dir, "module")
			command(t, "unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-d", headers, rlocation(t, "_main/system/"+kernel+"_headers.squashfs"))
			if err := os.Mkdir(module, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"hello.c": source, "Makefile": "obj-m := hello.o\n"} {
				if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			command(t, "make", "-C", headers, "M="+module, "modules")
			built, err := os.ReadFile(filepath.Join(module, "hello.ko"))
			if err != nil {
				t.Fatal(err)
			}
			got, want := vermagic(t, built), vermagic(t, anyModule(t, rlocation(t, "_main/system/"+kernel+"/modules.tar.zst")))
			if got != want || got == "" {
				t.Errorf("module has vermagic %q, want %q", got, want)
			}
		})
	}
}

func rlocation(t *testing.T, name string) string {
	t.Helper()
	file, err := runfiles.Rlocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, output)
	}
}

// anyModule is the first module of a kernel.
func anyModule(t *testing.T, archive string) []byte {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	unpacker, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer unpacker.Close()
	for r := tar.NewReader(unpacker); ; {
		header, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if path.Ext(header.Name) != ".ko" {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

// vermagic is the release and the options that a module must have in common
// with the kernel.
func vermagic(t *testing.T, module []byte) string {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if text, found := strings.CutPrefix(entry, "vermagic="); found {
			return text
		}
	}
	return ""
}
