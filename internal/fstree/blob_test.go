package fstree

import (
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
	var named bytes.Buffer
	w := gzip.NewWriter(&named)
	w.Name, w.Comment, w.Extra = "layer.tar", "comment", []byte("extra")
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		blob      []byte
		mediaType types.MediaType
	}{
		{"plain tar", plain, types.OCIUncompressedLayer},
		{"gzip", gzipOf(t, plain), types.OCILayer},
		{"multi-member gzip", concat(gzipOf(t, plain[:half]), gzipOf(t, nil), gzipOf(t, plain[half:])), types.DockerLayer},
		{"zstd", zstdOf(t, plain), types.OCILayerZStd},
		{"zstd of several frames, some skippable",
			concat(skippable, zstdOf(t, plain[:half]), skippable, zstdOf(t, plain[half:]), skippable), types.OCILayerZStd},
		{"media type says zstd, bytes are gzip", gzipOf(t, plain), types.OCILayerZStd},
		{"media type says gzip, bytes are zstd", zstdOf(t, plain), types.OCILayer},
		{"media type says gzip, bytes are plain", plain, types.OCILayer},
		{"media type says plain, bytes are gzip", gzipOf(t, plain), types.OCIUncompressedLayer},
		{"foreign layer whose bytes are there", gzipOf(t, plain), types.DockerForeignLayer},
		{"gzip with a name and a comment", named.Bytes(), types.OCILayer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			layer := layerOf(test.blob, plain)
			layer.mediaType = test.mediaType
			tree, blobTree, fileTree := newTree(t), newTree(t), newTree(t)
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
			if err := fileTree.AddFile(hostFileOf(t, test.blob)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, describe(t, fileTree)); diff != "" {
				t.Errorf("tree (-AddLayer +AddFile):\n%s", diff)
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
	// A frame of one segment has no window descriptor. Its window is as large as
	// its content, which has a size of 8 bytes here: 0xc0 | 0x20.
	segment := concat([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, binary.LittleEndian.AppendUint64(nil, 2<<30), []byte{1, 0, 0})
	tests := []struct {
		name   string
		change func(l *fakeLayer)
		want   string
	}{
		{"blob replaced by other valid gzip", func(l *fakeLayer) { l.blob = packedOther; l.size = int64(len(packedOther)) },
			"verify blob: got digest " + hashOf(packedOther).String() + ", want " + hashOf(packed).String()},
		{"blob replaced by no tar",
			func(l *fakeLayer) { l.blob = gzipOf(t, []byte("garbage")); l.size = int64(len(l.blob)) }, "verify blob: got digest "},
		{"blob is longer than its size", func(l *fakeLayer) { l.size-- }, "verify blob: got more than "},
		{"blob is truncated", func(l *fakeLayer) { l.blob = packed[:100] }, "verify blob: got 100 bytes, want "},
		{"wrong diff ID", func(l *fakeLayer) { l.diffID = hashOf(other) },
			"verify diff ID: got digest " + hashOf(plain).String() + ", want "},
		{"sha512", func(l *fakeLayer) { l.digest.Algorithm = "sha512" }, `digest algorithm "sha512" is not supported`},
		{"diff ID in sha512", func(l *fakeLayer) { l.diffID.Algorithm = "sha512" }, `digest algorithm "sha512" is not supported`},
		{"encrypted layer", func(l *fakeLayer) { l.mediaType = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" },
			`media type "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" is not one of`},
		{"attestation", func(l *fakeLayer) { l.mediaType = "application/vnd.in-toto+json" },
			`media type "application/vnd.in-toto+json" is not one of`},
		{"blob missing", func(l *fakeLayer) { l.openErr = io.ErrClosedPipe }, "open blob: io: read/write on closed pipe"},
		{"close fails", func(l *fakeLayer) { l.closeErr = io.ErrClosedPipe }, "close blob: io: read/write on closed pipe"},
		{"trailing garbage after gzip",
			func(l *fakeLayer) { *l = *layerOf(concat(packed, []byte("garbage, garbage")), plain) }, "read tar: gzip: invalid header"},
		{"trailing garbage after zstd",
			func(l *fakeLayer) { *l = *layerOf(concat(zstdOf(t, plain), []byte("garbage")), plain) }, "read tar: invalid input: magic number mismatch"},
		{"one byte after zstd", func(l *fakeLayer) { *l = *layerOf(concat(zstdOf(t, plain), []byte("g")), plain) },
			"read tar: unexpected EOF"},
		{"trailing garbage after tar",
			func(l *fakeLayer) { *l = *layerOf(concat(plain, []byte("garbage")), concat(plain, []byte("garbage"))) }, "read tar: data behind the end of the archive"},
		{"truncated gzip", func(l *fakeLayer) { *l = *layerOf(packed[:len(packed)-4], plain) }, "read tar: unexpected EOF"},
		{"gzip checksum", func(l *fakeLayer) {
			blob := bytes.Clone(packed)
			blob[len(blob)-8] ^= 1
			*l = *layerOf(blob, plain)
		}, "read tar: gzip: invalid checksum"},
		{"zstd window of 2 GiB", func(l *fakeLayer) { *l = *layerOf(window, plain) }, "read tar: window size exceeded"},
		{"zstd window of 2 GiB, without saying so", func(l *fakeLayer) { *l = *layerOf(segment, plain) },
			"read tar: decompressed size exceeds configured limit"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			layer := layerOf(packed, plain)
			test.change(layer)
			tree := newTree(t)
			err := tree.AddLayer(layer)
			want := "apply layer 1, " + layer.digest.String() + ": " + test.want
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("got error %v\nwant %s", err, want)
			}
			checkUnusable(t, tree, err)
		})
	}
}

// TestAddLayerNamesLayerAndPath is about what the user of a stack of layers reads.
func TestAddLayerNamesLayerAndPath(t *testing.T) {
	tree := newTree(t)
	good, bad := tarOf(t, file("a", "")), tarOf(t, file("b", ""), file("etc\x1b[2J/../x", ""))
	if err := tree.AddLayer(layerOf(gzipOf(t, good), good)); err != nil {
		t.Fatal(err)
	}
	layer := layerOf(gzipOf(t, bad), bad)
	err := tree.AddLayer(layer)
	want := "apply layer 2, " + layer.digest.String() + `: apply "etc\x1b[2J/../x": name contains ".."`
	if err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant %s", err, want)
	}
}

// TestAddLayerEmpty is about layers without entries: builders write them for
// steps that change nothing.
func TestAddLayerEmpty(t *testing.T) {
	for name, blob := range map[string][]byte{
		"gzip of an archive without entries": gzipOf(t, tarOf(t)),
		"gzip of nothing":                    gzipOf(t, nil),
		"archive without entries":            tarOf(t),
		"no bytes":                           nil,
	} {
		uncompressed := blob
		if len(blob) > 0 && blob[0] == 0x1f {
			r, err := gzip.NewReader(bytes.NewReader(blob))
			if err != nil {
				t.Fatal(err)
			}
			if uncompressed, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		tree := newTree(t)
		if err := tree.AddLayer(layerOf(blob, uncompressed)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := describe(t, tree); len(got) > 0 {
			t.Errorf("%s: tree holds %q", name, got)
		}
	}
}
