package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

// writeArtifacts writes an artifact set that nothing could boot, and gives its
// manifest's path.
func writeArtifacts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0 quiet"}
	for kind, content := range map[bundle.Kind][]byte{
		bundle.Base: baseLayer(t), bundle.Initrd: []byte("initrd"), bundle.Kernel: []byte("kernel"),
	} {
		name := string(kind) + ", for x86"
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, name)
		if err != nil {
			t.Fatal(err)
		}
		arch.Files = append(arch.Files, file)
	}
	manifest := bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func baseLayer(t *testing.T) []byte {
	t.Helper()
	var layer bytes.Buffer
	compressor := gzip.NewWriter(&layer)
	archive := tar.NewWriter(compressor)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "bin", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	for _, closer := range []interface{ Close() error }{archive, compressor} {
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return layer.Bytes()
}
