package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

// testSet is an artifact set in a folder, for both architectures.
type testSet struct{ dir, id string }

// writeSet writes a set to a folder. Sets with other initrds are other sets.
func writeSet(t *testing.T, dir, initrd string) testSet {
	t.Helper()
	return writeSetOf(t, dir, initrd, kerneltest.VMLinux(kerneltest.PVH()))
}

// writeSetOf writes a set for some architectures, or for both if none is named.
func writeSetOf(t *testing.T, dir, initrd string, kernel []byte, arches ...string) testSet {
	t.Helper()
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}
	for _, arch := range []struct {
		name, kernelName, release string
		kernel                    []byte
	}{
		{"aarch64", "Image", "6.1.0-50-cloud-arm64", kerneltest.Image()},
		{"x86_64", "vmlinux", "6.1.0-50-cloud-amd64", kernel},
	} {
		if len(arches) > 0 && !slices.Contains(arches, arch.name) {
			continue
		}
		info, err := (&bundle.KernelDescription{Version: bundle.KernelDescriptionVersion, Arch: arch.name, Release: arch.release}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		a := bundle.Architecture{Arch: arch.name, CommandLine: "console=ttyS0"}
		for _, file := range []struct {
			kind bundle.Kind
			name string
			data []byte
		}{
			{bundle.Kernel, arch.kernelName, arch.kernel},
			{bundle.Initrd, "initrd", []byte(initrd + " for " + arch.name)},
			{bundle.KernelInfo, "kernel.json", info},
		} {
			a.Files = append(a.Files, writeSetFile(t, dir, file.kind, arch.name+"/"+file.name, file.data))
		}
		m.Architectures = append(m.Architectures, a)
	}
	return testSet{dir, writeManifest(t, dir, m)}
}

// writeSetFile writes a file of a set and describes it.
func writeSetFile(t *testing.T, dir string, kind bundle.Kind, name string, data []byte) bundle.File {
	t.Helper()
	writeFile(t, filepath.Join(dir, name), data)
	file, err := bundle.Describe(os.DirFS(dir), kind, name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func writeManifest(t *testing.T, dir string, m *bundle.Manifest) (id string) {
	t.Helper()
	data, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "manifest.json"), data)
	if id, err = m.ID(); err != nil {
		t.Fatal(err)
	}
	return id
}

// setHost is a machine with a data directory and a set to install, in the working
// directory.
type setHost struct {
	dataDir string
	set     testSet
}

func newSetHost(t *testing.T) *setHost {
	t.Helper()
	newHost(t)
	h := &setHost{dataDir: filepath.Join(t.TempDir(), "data")}
	t.Setenv("KINDLING_DATA_DIR", h.dataDir)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Chdir(t.TempDir())
	h.set = writeSet(t, "set", "one")
	return h
}

// both installs what is for both architectures.
const both = "x86_64,aarch64"

// must runs what must not fail, and gives its output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	got := kindling(args...)
	if got.Code != 0 {
		t.Fatalf("%q: got %+v, want code 0", args, got)
	}
	return got.Stdout
}

// file is the path of an installed file.
func (h *setHost) file(t *testing.T, arch string, kind bundle.Kind) string {
	t.Helper()
	set, err := system.NewStore(h.dataDir, system.Options{}).Resolve(t.Context(), h.set.id, arch)
	if err != nil {
		t.Fatal(err)
	}
	return map[bundle.Kind]string{bundle.Kernel: set.Kernel, bundle.Initrd: set.Initrd}[kind]
}

// damage changes a byte of an installed file.
func (h *setHost) damage(t *testing.T, kind bundle.Kind) (path string) {
	t.Helper()
	path = h.file(t, "x86_64", kind)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1]++
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
