package fstree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// fakeLayer is a layer that can lie.
type fakeLayer struct {
	blob           []byte
	digest, diffID v1.Hash
	size           int64
	mediaType      types.MediaType
	openErr        error
	closeErr       error
}

func (l *fakeLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *fakeLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *fakeLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fakeLayer) MediaType() (types.MediaType, error)  { return l.mediaType, nil }
func (l *fakeLayer) Uncompressed() (io.ReadCloser, error) { return nil, errors.New("not to be used") }
func (l *fakeLayer) Compressed() (io.ReadCloser, error) {
	return fakeBlob{bytes.NewReader(l.blob), l}, l.openErr
}

type fakeBlob struct {
	io.Reader
	layer *fakeLayer
}

func (b fakeBlob) Close() error { return b.layer.closeErr }

func hashOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func layerOf(blob, uncompressed []byte) *fakeLayer {
	return &fakeLayer{blob: blob, digest: hashOf(blob), diffID: hashOf(uncompressed), size: int64(len(blob)), mediaType: types.OCILayer}
}

func gzipOf(t testing.TB, data []byte) []byte {
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

func zstdOf(t testing.TB, data []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// skippable is a zstd frame without content.
var skippable = []byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}

func TestAddLayer(t *testing.T) {
	plain := tarOf(t, dir("d"), file("d/a", strings.Repeat("content", 10000)))
	half := len(plain) / 2
	tests := []struct {
		name      string
		blob      []byte
		mediaType types.MediaType
	}{
		{"plain", plain, types.OCIUncompressedLayer},
		{"gzip", gzipOf(t, plain), types.OCILayer},
		{"gzip of several members", concat(gzipOf(t, plain[:half]), gzipOf(t, nil), gzipOf(t, plain[half:])), types.DockerLayer},
		{"zstd", zstdOf(t, plain), types.OCILayerZStd},
		{"zstd of several frames", concat(skippable, zstdOf(t, plain[:half]), skippable, zstdOf(t, plain[half:]), skippable), types.OCILayerZStd},
		{"gzip that is called zstd", gzipOf(t, plain), types.OCILayerZStd},
		{"zstd that is called gzip", zstdOf(t, plain), types.OCILayer},
		{"foreign layer", gzipOf(t, plain), types.DockerForeignLayer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			layer := layerOf(test.blob, plain)
			layer.mediaType = test.mediaType
			tree, blobTree := newTree(t), newTree(t)
			if err := tree.AddLayer(layer); err != nil {
				t.Fatal(err)
			}
			if err := blobTree.AddBlob(bytes.NewReader(test.blob)); err != nil {
				t.Fatal(err)
			}
			got := describe(t, tree)
			if len(got) != 2 || !strings.HasPrefix(got[1], "d/a file 0644") {
				t.Errorf("tree = %.50q", got)
			}
			if diff := cmp.Diff(got, describe(t, blobTree)); diff != "" {
				t.Errorf("tree (-AddLayer +AddBlob):\n%s", diff)
			}
		})
	}
}

func TestAddLayerRejects(t *testing.T) {
	plain := tarOf(t, dir("d"), file("d/a", strings.Repeat("content", 10000)))
	other := tarOf(t, dir("d"), file("d/a", strings.Repeat("CONTENT", 10000)))
	packed, packedOther := gzipOf(t, plain), gzipOf(t, other)
	window := zstdOf(t, bytes.Repeat(plain, 10), zstd.WithSingleSegment(false), zstd.WithWindowSize(1<<20))
	window[5] = 21 << 3 // Window_Descriptor of 2 GiB, RFC 8878, section 3.1.1.1.2
	if window[4]&0x20 != 0 {
		t.Fatal("frame has no window descriptor")
	}
	tests := []struct {
		name   string
		change func(l *fakeLayer)
		want   string
	}{
		{"other blob", func(l *fakeLayer) { l.blob = packedOther; l.size = int64(len(packedOther)) }, "verify blob: got digest " + hashOf(packedOther).String() + ", want " + hashOf(packed).String()},
		{"other blob, no tar", func(l *fakeLayer) { l.blob = gzipOf(t, []byte("garbage")); l.size = int64(len(l.blob)) }, "verify blob: got digest "},
		{"longer blob", func(l *fakeLayer) { l.size-- }, "verify blob: got more than "},
		{"shorter blob", func(l *fakeLayer) { l.blob = packed[:100] }, "verify blob: got 100 bytes, want "},
		{"wrong diff ID", func(l *fakeLayer) { l.diffID = hashOf(other) }, "verify diff ID: got digest " + hashOf(plain).String() + ", want "},
		{"sha512", func(l *fakeLayer) { l.digest.Algorithm = "sha512" }, `digest algorithm "sha512" is not supported`},
		{"diff ID in sha512", func(l *fakeLayer) { l.diffID.Algorithm = "sha512" }, `digest algorithm "sha512" is not supported`},
		{"encrypted", func(l *fakeLayer) { l.mediaType = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" }, `media type "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" is not one of`},
		{"attestation", func(l *fakeLayer) { l.mediaType = "application/vnd.in-toto+json" }, `media type "application/vnd.in-toto+json" is not one of`},
		{"blob missing", func(l *fakeLayer) { l.openErr = io.ErrClosedPipe }, "open blob: io: read/write on closed pipe"},
		{"close fails", func(l *fakeLayer) { l.closeErr = io.ErrClosedPipe }, "close blob: io: read/write on closed pipe"},
		{"garbage behind gzip", func(l *fakeLayer) { *l = *layerOf(concat(packed, []byte("garbage, garbage")), plain) }, "read tar: gzip: invalid header"},
		{"garbage behind zstd", func(l *fakeLayer) { *l = *layerOf(concat(zstdOf(t, plain), []byte("garbage")), plain) }, "read tar: invalid input: magic number mismatch"},
		{"bytes behind zstd", func(l *fakeLayer) { *l = *layerOf(concat(zstdOf(t, plain), []byte("g")), plain) }, "read tar: unexpected EOF"},
		{"garbage behind tar", func(l *fakeLayer) { *l = *layerOf(concat(plain, []byte("garbage")), concat(plain, []byte("garbage"))) }, "read tar: data behind the end of the archive"},
		{"cut gzip", func(l *fakeLayer) { *l = *layerOf(packed[:len(packed)-4], plain) }, "read tar: unexpected EOF"},
		{"gzip checksum", func(l *fakeLayer) {
			blob := bytes.Clone(packed)
			blob[len(blob)-8] ^= 1
			*l = *layerOf(blob, plain)
		}, "read tar: gzip: invalid checksum"},
		{"zstd window", func(l *fakeLayer) { *l = *layerOf(window, plain) }, "read tar: window size exceeded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			layer := layerOf(packed, plain)
			test.change(layer)
			tree := newTree(t)
			err := tree.AddLayer(layer)
			want := "apply layer " + layer.digest.String() + ": " + test.want
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("got error %v\nwant %s", err, want)
			}
			checkUnusable(t, tree, err)
		})
	}
}

func TestLimits(t *testing.T) {
	zeros := make([]byte, 8<<20)
	bomb := tarOf(t, file("zeros", string(zeros)))
	packed := gzipOf(t, bomb)
	many := make([]entry, 10)
	for i := range many {
		many[i] = file(strings.Repeat("x", i+1), "body")
	}
	manyTar := tarOf(t, many...)
	attributes := tarOf(t, entry{Header: tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("v", 1000)}}})
	tests := []struct {
		name   string
		limits func(l *Limits)
		blob   []byte
		want   string // "" is no error
	}{
		{"defaults", func(*Limits) {}, packed, ""},
		{"ratio of gzip", func(l *Limits) { l.RatioFreeBytes = 1 << 20 }, packed, "uncompressed bytes"},
		{"ratio of zstd", func(l *Limits) { l.RatioFreeBytes = 1 << 20 }, zstdOf(t, bomb), "uncompressed bytes"},
		{"no ratio of plain tar", func(l *Limits) { l.RatioFreeBytes, l.Ratio = 0, 1 }, bomb, ""},
		{"total bytes", func(l *Limits) { l.TotalBytes = 1 << 20 }, packed, "total bytes"},
		{"total bytes, just", func(l *Limits) { l.TotalBytes = int64(len(bomb)) }, packed, ""},
		{"file bytes", func(l *Limits) { l.FileBytes = 8<<20 - 1 }, packed, "file bytes: 8388608 is more than 8388607"},
		{"file bytes, just", func(l *Limits) { l.FileBytes = 8 << 20 }, packed, ""},
		{"entries", func(l *Limits) { l.Entries = 19 }, manyTar, "entries: 20 is more than 19"},
		{"entries, just", func(l *Limits) { l.Entries = 20 }, manyTar, ""},
		{"names", func(l *Limits) { l.MetaBytes = 54 }, manyTar, "bytes of names and attributes: 55 is more than 54"},
		{"attributes", func(l *Limits) { l.MetaBytes = 1000 }, attributes, "bytes of names and attributes: 1006 is more than 1000"},
		{"path", func(l *Limits) { l.PathBytes = 9 }, manyTar, "path bytes: 10 is more than 9"},
		{"name", func(l *Limits) { l.NameBytes = 9 }, manyTar, "name bytes: 10 is more than 9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := newTree(t)
			test.limits(&tree.Limits)
			err := tree.AddBlob(bytes.NewReader(test.blob))
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	// The limits are those of all layers together.
	tree := newTree(t)
	tree.Limits.TotalBytes = int64(len(manyTar)) * 5 / 2
	for i := range 3 {
		err := tree.AddTar(bytes.NewReader(manyTar))
		if wantErr := i == 2; errors.Is(err, ErrLimit) != wantErr {
			t.Errorf("layer %d: got error %v", i, err)
		}
	}
}

func FuzzAddTar(f *testing.F) {
	f.Add(tarOf(f, dir("d"), file("d/a", "1"), hard("b", "d/a"), link("s", "d"), file("s/x", "")), tarOf(f, file("d/.wh.a", ""), file("s/.wh..wh..opq", ""), dir("s")))
	f.Add(tarOf(f, link("bin", "usr/bin"), file("bin/x", "")), tarOf(f, file(".wh.usr", ""), file("usr/y", "")))
	f.Add(tarOf(f, link("a", "b"), link("b", "a")), tarOf(f, file("a/x", "")))
	f.Add(gzipOf(f, tarOf(f, file("a", ""))), zstdOf(f, tarOf(f, file("b", ""))))
	f.Add([]byte{0x1f, 0x8b}, binary.LittleEndian.AppendUint32(nil, 0x184D2A50))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tree := newTree(t)
		tree.Limits.TotalBytes, tree.Limits.Entries = 1<<20, 1000
		for _, layer := range [][]byte{lower, upper} {
			if err := tree.AddBlob(bytes.NewReader(layer)); err != nil {
				checkUnusable(t, tree, err)
				return
			}
			checkConsistent(t, tree)
		}
		var buf bytes.Buffer
		if err := tree.WriteTar(&buf); err != nil {
			t.Fatal(err)
		}
		again := newTree(t)
		if err := again.AddTar(&buf); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describe(t, tree), describe(t, again)); diff != "" {
			t.Errorf("tree (-written +read):\n%s", diff)
		}
	})
}
