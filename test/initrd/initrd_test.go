//go:build vm

package initrd

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system"
)

const (
	initPath  = "init"
	agentPath = "usr/local/bin/guest-agent"
)

// entry is a file of the archive, with the content of the files that are
// looked at.
type entry struct {
	header  *cpio.Header
	content []byte
}

func readInitrd(t *testing.T) []entry {
	t.Helper()
	manifest, err := runfiles.Rlocation("_main/system/manifest_x86_64.json")
	if err != nil {
		t.Fatal(err)
	}
	set, err := system.Open(manifest)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(set.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	var entries []entry
	reader := cpio.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatalf("read %s: %v", header.Name, err)
		}
		entries = append(entries, entry{header, content})
	}
}

// TestOrder checks what the kernel needs and what makes the bytes the same
// everywhere.
func TestOrder(t *testing.T) {
	entries := readInitrd(t)
	seen := map[string]bool{".": true}
	var names []string
	for _, e := range entries {
		name := e.header.Name
		if !seen[path.Dir(name)] {
			t.Errorf("%s comes before its folder: the kernel would drop it", name)
		}
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		names = append(names, name)
		if !e.header.ModTime.IsZero() && e.header.ModTime.Unix() != 0 {
			t.Errorf("%s has time %v", name, e.header.ModTime)
		}
		if kind := e.header.Mode & cpio.ModeType; kind != cpio.TypeDir && kind != cpio.TypeReg && kind != cpio.TypeSymlink {
			t.Errorf("%s is of type %#o", name, kind)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("entries are not sorted")
	}
}

func TestPrograms(t *testing.T) {
	budget := map[string]int64{initPath: 3 << 20, agentPath: 8 << 20} // bytes
	for _, e := range readInitrd(t) {
		limit, ok := budget[e.header.Name]
		if !ok {
			continue
		}
		delete(budget, e.header.Name)
		if e.header.Mode.Perm() != 0o555 || e.header.Size > limit {
			t.Errorf("%s has mode %#o and %d bytes, want 0555 and at most %d", e.header.Name, e.header.Mode.Perm(), e.header.Size, limit)
		}
		program, err := elf.NewFile(bytes.NewReader(e.content))
		if err != nil {
			t.Fatalf("%s: %v", e.header.Name, err)
		}
		if program.Machine != elf.EM_X86_64 {
			t.Errorf("%s is for %v", e.header.Name, program.Machine)
		}
		if program.Section(".symtab") != nil || program.Section(".debug_info") != nil {
			t.Errorf("%s is not stripped", e.header.Name)
		}
		for _, segment := range program.Progs {
			if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
				t.Errorf("%s has a segment %v: it is not static", e.header.Name, segment.Type)
			}
		}
	}
	for name := range budget {
		t.Errorf("no %s in the initrd", name)
	}
}

// TestModules checks that the list of modules, their order and the files agree.
func TestModules(t *testing.T) {
	entries := readInitrd(t)
	files := map[string]string{}
	var release string
	for _, e := range entries {
		files[e.header.Name] = string(e.content)
		if base, found := strings.CutPrefix(path.Dir(e.header.Name), "lib/modules/"); found && path.Base(e.header.Name) == "modules.dep" {
			release = base
		}
	}
	if diff := cmp.Diff("virtio_pci\nvirtio_blk\noverlay\nvmw_vsock_virtio_transport\n", files["etc/modules"]); diff != "" {
		t.Errorf("/etc/modules (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(files["lib/modules/"+release+"/modules.dep"]) {
		for _, file := range strings.Fields(strings.Replace(line, ":", "", 1)) {
			if files["lib/modules/"+release+"/"+file] == "" {
				t.Errorf("modules.dep names %s, which is not there", file)
			}
		}
	}
}
