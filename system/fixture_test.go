package system

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

// fakeSet is a set in a folder, as //system:bundle makes it, with small files.
type fakeSet struct {
	dir, id  string
	manifest *bundle.Manifest
}

// makeSet writes a set for both architectures. Another seed gives other bytes.
func makeSet(t testing.TB, seed uint64) fakeSet {
	t.Helper()
	return makeSizedSet(t, seed, map[bundle.Kind]int{bundle.Kernel: 40 << 10, bundle.Initrd: 24 << 10})
}

// makeSizedSet writes a set whose files have the sizes.
func makeSizedSet(t testing.TB, seed uint64, sizes map[bundle.Kind]int) fakeSet {
	t.Helper()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}
	for _, arch := range []struct{ name, kernel, release string }{
		{"aarch64", "Image", "6.1.0-50-cloud-arm64"},
		{"x86_64", "vmlinux", "6.1.0-50-cloud-amd64"},
	} {
		a := bundle.Architecture{Arch: arch.name, CommandLine: "console=ttyS0"}
		info, err := (&bundle.KernelDescription{
			Version: bundle.KernelDescriptionVersion, Arch: arch.name, Release: arch.release,
		}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []struct {
			kind bundle.Kind
			name string
			data []byte
		}{
			{bundle.Kernel, arch.kernel, make([]byte, sizes[bundle.Kernel])},
			{bundle.Initrd, "initrd", make([]byte, sizes[bundle.Initrd])},
			{bundle.KernelInfo, "kernel.json", info},
		} {
			if file.kind != bundle.KernelInfo {
				if _, err := random.Read(file.data); err != nil {
					t.Fatal(err)
				}
			}
			name := arch.name + "/" + file.name
			writeFile(t, filepath.Join(dir, name), file.data)
			described, err := bundle.Describe(os.DirFS(dir), file.kind, name)
			if err != nil {
				t.Fatal(err)
			}
			a.Files = append(a.Files, described)
		}
		m.Architectures = append(m.Architectures, a)
	}
	data, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, manifestName), data)
	id, err := m.ID()
	if err != nil {
		t.Fatal(err)
	}
	return fakeSet{dir, id, m}
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// file is a file of the set for this machine.
func (f fakeSet) file(kind bundle.Kind) bundle.File {
	a, _ := f.manifest.Architecture(GetArch())
	file, _ := a.File(kind)
	return file
}

func (f fakeSet) bytes(t testing.TB, kind bundle.Kind) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, f.file(kind).Name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// install installs sets from their folders and gives the store.
func install(t testing.TB, sets ...fakeSet) *Store {
	t.Helper()
	var sources []Source
	for _, set := range sets {
		sources = append(sources, Dir(set.dir))
	}
	s := NewStore(t.TempDir(), Options{Sources: sources})
	for _, set := range sets {
		if _, err := s.Install(t.Context(), set.id); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// tree gives what is below the data directory, by path: mode and content of each
// file, and targets of links. Records are left out, which have times, and the lock that all share.
func tree(t testing.TB, dataDir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dataDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dataDir, name)
		if err != nil || strings.HasSuffix(name, recordSuffix) || filepath.Base(name) == collectLock {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var content string
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(name)
		case info.Mode().IsRegular():
			data, readErr := os.ReadFile(name)
			content, err = string(data), readErr
		}
		found[rel] = info.Mode().String() + " " + content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// differ names what is not the same in two trees.
func differ(want, got map[string]string) (names []string) {
	for name := range want {
		if got[name] != want[name] {
			names = append(names, "-"+name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, "+"+name)
		}
	}
	return names
}

// failAfter is a fault, of one store, at each step but some first ones.
func failAfter(first int, err error) func(step, name string) error {
	var mu sync.Mutex
	steps := 0
	return func(step, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if step == "remove" || step == "rmdir" {
			return nil // a full disk takes that
		}
		if steps++; steps > first {
			return err
		}
		return nil
	}
}

// wantSet fails unless the files of a resolved set are those of the fixture.
func wantSet(t testing.TB, set *Set, want fakeSet) {
	t.Helper()
	if set.ID != want.id {
		t.Errorf("ID = %s, want %s", set.ID, want.id)
	}
	for kind, name := range map[bundle.Kind]string{bundle.Kernel: set.Kernel, bundle.Initrd: set.Initrd} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want.bytes(t, kind)) {
			t.Errorf("%s is not the %s of the set", name, kind)
		}
	}
}
