//go:build vm

package initrd

import (
	"bytes"
	"debug/elf"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/system"
)

const (
	initPath  = "init"
	agentPath = "usr/local/bin/guest-agent"
)

var arches = map[string]elf.Machine{"aarch64": elf.EM_AARCH64, "x86_64": elf.EM_X86_64}

// entry is an entry of an initrd, with its content.
type entry struct {
	initramfs.Entry
	content []byte
}

// forArches runs a test on the initrd of every architecture.
func forArches(t *testing.T, test func(t *testing.T, arch string, entries []entry)) {
	manifest, err := runfiles.Rlocation("_main/system/bundle/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range slices.Sorted(maps.Keys(arches)) {
		t.Run(arch, func(t *testing.T) {
			set, err := system.Open(manifest, arch)
			if err != nil {
				t.Fatal(err)
			}
			test(t, arch, readInitrd(t, set.Initrd))
		})
	}
}

func readInitrd(t *testing.T, name string) []entry {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	_, err = initramfs.Walk(file, info.Size(), func(e *initramfs.Entry, body io.Reader) error {
		content, err := io.ReadAll(body)
		entries = append(entries, entry{*e, content})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestOrder checks what the kernel needs and what makes the bytes the same
// everywhere.
func TestOrder(t *testing.T) {
	forArches(t, func(t *testing.T, _ string, entries []entry) {
		seen := map[string]bool{}
		segments := map[int][]string{}
		for _, e := range entries {
			if e.Name != "." && !seen[path.Dir(e.Name)] {
				t.Errorf("%s comes before its folder: the kernel would drop it", e.Name)
			}
			if seen[e.Name] {
				t.Errorf("%s stands twice", e.Name)
			}
			seen[e.Name] = true
			segments[e.Segment] = append(segments[e.Segment], e.Name)
			if e.ModTime != 0 {
				t.Errorf("%s has time %v", e.Name, e.ModTime)
			}
			if kind := e.Mode & initramfs.TypeMask; kind != initramfs.TypeDir && kind != initramfs.TypeRegular && kind != initramfs.TypeSymlink {
				t.Errorf("%s is of type %#o", e.Name, kind)
			}
		}
		for number, names := range segments {
			if !slices.IsSorted(names) {
				t.Errorf("entries of segment %d are not sorted", number)
			}
		}
	})
}

func TestPrograms(t *testing.T) {
	forArches(t, func(t *testing.T, arch string, entries []entry) {
		budget := map[string]int64{initPath: 3 << 20, agentPath: 8 << 20} // bytes
		for _, e := range entries {
			limit, ok := budget[e.Name]
			if !ok {
				continue
			}
			delete(budget, e.Name)
			if mode := e.Mode &^ initramfs.TypeMask; mode != 0o555 || e.Size > limit {
				t.Errorf("%s has mode %#o and %d bytes, want 0555 and at most %d", e.Name, mode, e.Size, limit)
			}
			program, err := elf.NewFile(bytes.NewReader(e.content))
			if err != nil {
				t.Fatalf("%s: %v", e.Name, err)
			}
			if program.Machine != arches[arch] {
				t.Errorf("%s is for %v", e.Name, program.Machine)
			}
			if program.Section(".symtab") != nil || program.Section(".debug_info") != nil {
				t.Errorf("%s is not stripped", e.Name)
			}
			for _, segment := range program.Progs {
				if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
					t.Errorf("%s has a segment %v: it is not static", e.Name, segment.Type)
				}
			}
		}
		for name := range budget {
			t.Errorf("no %s in the initrd", name)
		}
	})
}

// TestModules checks that the list of modules, their order and the files agree.
func TestModules(t *testing.T) {
	forArches(t, func(t *testing.T, _ string, entries []entry) {
		files := map[string]string{}
		var release string
		for _, e := range entries {
			files[e.Name] = string(e.content)
			if base, found := strings.CutPrefix(path.Dir(e.Name), "lib/modules/"); found && path.Base(e.Name) == "modules.dep" {
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
	})
}
