//go:build vm

// Package examples has the test that another workspace can use the rules.
package examples

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/test/internal/nestedbazel"
)

// TestExample builds the example's set offline and looks for what is its own in
// the initrd, and for what is not.
func TestExample(t *testing.T) {
	w := nestedbazel.Find(t).New(t, filepath.Join(t.TempDir(), "ws"))
	w.Dir = filepath.Join(w.Dir, "examples")
	if output, err := w.Run("build", "//:bundle"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	set, err := system.Open(filepath.Join(w.Dir, "bazel-bin/bundle/manifest.json"), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	motd, err := os.ReadFile(filepath.Join(w.Dir, "motd"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]bool{"bin/hello": true, "init": true, "usr/local/bin/guest-agent": true}
	got := map[string]string{}
	walk(t, set.Initrd, func(entry *initramfs.Entry, content string) {
		switch {
		case entry.Name == "etc/motd":
			got[entry.Name] = content
		case programs[entry.Name]:
			got[entry.Name] = strings.TrimLeft(content[:4], "\x7f")
		case strings.Contains(entry.Name, "busybox"):
			got[entry.Name] = "not of the example's base"
		}
	})
	want := map[string]string{"etc/motd": string(motd), "bin/hello": "ELF", "init": "ELF", "usr/local/bin/guest-agent": "ELF"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("initrd (-want +got):\n%s", diff)
	}
}

func walk(t *testing.T, name string, visit func(entry *initramfs.Entry, content string)) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	_, err = initramfs.Walk(file, info.Size(), func(entry *initramfs.Entry, body io.Reader) error {
		content, err := io.ReadAll(body)
		visit(entry, string(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
