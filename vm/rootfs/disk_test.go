package rootfs

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestWriteDisk(t *testing.T) {
	layers := []v1.Layer{
		newLayer(t, tar.Header{Name: "a"}, tar.Header{Name: "gone"}),
		newLayer(t, tar.Header{Name: ".wh.gone"}),
	}
	var disks [2][]byte
	for i := range disks {
		path := filepath.Join(t.TempDir(), "rootfs.ext4")
		if err := WriteDisk(t.Context(), path, layers, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tar2ext4.ReadExt4SuperBlock(path); err != nil {
			t.Error(err)
		}
		checkAlone(t, path)
		disk, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		disks[i] = disk
	}
	if len(disks[0])%4096 != 0 {
		t.Errorf("got size %d, want a multiple of 4096", len(disks[0]))
	}
	if !bytes.Equal(disks[0], disks[1]) {
		t.Error("two disks of the same layers differ")
	}
}

// checkAlone fails unless path is all that its directory holds.
func checkAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("directory holds %v, want only %s", entries, filepath.Base(path))
	}
}

func TestWriteDiskErrors(t *testing.T) {
	evil := newLayer(t, tar.Header{Name: "evil"})
	tests := []struct {
		name   string
		change func(t *testing.T, blob string)
	}{
		{"corrupted", func(t *testing.T, blob string) {
			replaceFile(t, blob, func(data []byte) []byte {
				data[len(data)/2] ^= 1
				return data
			})
		}},
		{"truncated", func(t *testing.T, blob string) {
			replaceFile(t, blob, func(data []byte) []byte { return data[:len(data)-9] })
		}},
		{"another layer", func(t *testing.T, blob string) {
			replaceFile(t, blob, func([]byte) []byte {
				r, err := evil.Compressed()
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if _, err := b.ReadFrom(r); err != nil {
					t.Fatal(err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				return b.Bytes()
			})
		}},
		{"missing", func(t *testing.T, blob string) {
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img := newImage(t, amd64)
			layers, err := img.Layers()
			if err != nil {
				t.Fatal(err)
			}
			digest := digestOf(t, layers[0])
			dir := writeLayout(t, newIndex(plain(img)))
			test.change(t, blobPath(dir, digest))
			loaded, err := Load(t.Context(), dir, amd64, Options{})
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			_, err = loaded.WriteDisk(t.Context(), filepath.Join(out, "rootfs.ext4"), nil)
			if err == nil || !strings.Contains(err.Error(), digest.String()) {
				t.Errorf("got error %v, want one that names layer %s", err, digest)
			}
			entries, err := os.ReadDir(out)
			if err != nil || len(entries) != 0 {
				t.Errorf("directory holds %v, %v, want nothing", entries, err)
			}
		})
	}
}

func TestWriteOverlay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overlay.ext4")
	if err := WriteOverlay(path, 10_000_000_000); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 10_000_003_072 || info.Mode() != 0o600 {
		t.Errorf("got size %d, mode %v, want 10000003072, 0600", info.Size(), info.Mode())
	}
	checkAlone(t, path)
	if err := WriteOverlay(path, MinOverlay-1); err == nil || !strings.HasPrefix(err.Error(), "write overlay disk: ") {
		t.Errorf("got error %v, want one about the size", err)
	}
}
