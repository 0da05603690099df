package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func member(name string, body []byte) []byte {
	header := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o100644, len(body))
	if len(body)%2 == 1 {
		body = append(bytes.Clone(body), '\n')
	}
	return append([]byte(header), body...)
}

func pack(members ...[]byte) []byte {
	return append([]byte(arMagic), bytes.Join(members, nil)...)
}

var version = member("debian-binary", []byte("2.0\n"))

func dataTar(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range []string{"./bin/a", "./bin/b"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func compress[W io.WriteCloser](t testing.TB, data []byte, newWriter func(io.Writer) (W, error)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := newWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func xzOf(t testing.TB, data []byte) []byte { return compress(t, data, xz.NewWriter) }

func gzipOf(t testing.TB, data []byte) []byte {
	return compress(t, data, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriter(w), nil })
}

func zstdOf(t testing.TB, data []byte) []byte {
	return compress(t, data, func(w io.Writer) (*zstd.Encoder, error) { return zstd.NewWriter(w) })
}

// save writes a package and returns its path and digest.
func save(t *testing.T, pkg []byte) (path, digest string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "p.deb")
	if err := os.WriteFile(path, pkg, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(pkg))
}

func TestRead(t *testing.T) {
	data := dataTar(t)
	control := member("control.tar.xz", []byte("odd"))
	tests := []struct {
		name string
		pkg  []byte
	}{
		{"plain", pack(version, control, member("data.tar", data))},
		{"gzip", pack(version, control, member("data.tar.gz", gzipOf(t, data)))},
		{"xz", pack(version, control, member("data.tar.xz", xzOf(t, data)))},
		{"zstd", pack(version, control, member("data.tar.zst", zstdOf(t, data)))},
		{"names of GNU ar", pack(member("debian-binary/", []byte("2.1\nmore")), member("data.tar/", data))},
		{"members before and behind", pack(version, member("_odd", []byte("x")), control, member("data.tar", data), member("_sig", []byte("yyy")))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path, digest := save(t, test.pkg)
			got := map[string]string{}
			err := Read(path, digest, func(header *tar.Header, body io.Reader) error {
				content, err := io.ReadAll(body)
				got[header.Name] = string(content)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"./bin/a": "./bin/a", "./bin/b": "./bin/b"}, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRejects(t *testing.T) {
	data := dataTar(t)
	flipped := gzipOf(t, data)
	flipped[len(flipped)-8] ^= 1 // checksum
	badXZ := xzOf(t, data)
	tests := []struct {
		name string
		pkg  []byte
		want string
	}{
		{"empty", nil, "read ar magic: EOF"},
		{"no ar", []byte("<html>not found</html>"), "not an ar archive"},
		{"nothing in it", pack(), "read version: EOF"},
		{"other first member", pack(member("data.tar", data)), `first member is "data.tar", not debian-binary`},
		{"other version", pack(member("debian-binary", []byte("3.0\n"))), "package format is not 2"},
		{"short version", pack(member("debian-binary", []byte("2"))), "read version: unexpected EOF"},
		{"no data.tar", pack(version, member("control.tar", data)), "package has no data.tar"},
		{"no data.tar, no padding", pack(version, member("c", []byte("x")))[:8+64+61], "package has no data.tar"},
		{"unknown compression", pack(version, member("data.tar.bz2", data)), "read data.tar.bz2: compression is not supported"},
		{"cut in a header", pack(version)[:30], "read version: read ar header: unexpected EOF"},
		{"cut in a member", pack(version, member("control.tar", data))[:300], "read ar member: unexpected EOF"},
		{"cut in data.tar", pack(version, member("data.tar", data))[:1000], "read data.tar: unexpected EOF"},
		{"bad size", pack(version, bytes.Replace(member("data.tar", data), fmt.Appendf(nil, "%-10d", len(data)), []byte("-1        "), 1)), `read ar header of "data.tar": size is "-1"`},
		{"bad header", pack(version, bytes.Replace(member("data.tar", data), []byte("`\n"), []byte("xx"), 1)), `read ar header of "data.tar": wrong end`},
		{"gzip checksum", pack(version, member("data.tar.gz", flipped)), "read data.tar.gz: gzip: invalid checksum"},
		{"cut xz", pack(version, member("data.tar.xz", badXZ[:len(badXZ)-10])), "read data.tar.xz: "},
		{"no gzip", pack(version, member("data.tar.gz", data)), "read data.tar.gz: gzip: invalid header"},
		{"no xz", pack(version, member("data.tar.xz", data)), "read data.tar.xz: xz: invalid header magic bytes"},
		{"no zstd", pack(version, member("data.tar.zst", data)), "read data.tar.zst: invalid input: magic number mismatch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path, digest := save(t, test.pkg)
			err := Read(path, digest, func(*tar.Header, io.Reader) error { return nil })
			if want := "read package " + path + ": " + test.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got error %v\nwant %s", err, want)
			}
		})
	}
}

func TestReadVerifies(t *testing.T) {
	path, digest := save(t, pack(version, member("data.tar", dataTar(t))))
	ok := func(*tar.Header, io.Reader) error { return nil }
	other := strings.Repeat("0", 64)
	mismatch := fmt.Sprintf("verify package %s: got SHA-256 %s, want %s", path, digest, other)
	stop := errors.New("stop")
	tests := []struct {
		name, path, digest string
		f                  func(*tar.Header, io.Reader) error
		want               string
	}{
		{"wrong digest", path, other, ok, mismatch},
		{"wrong digest and error", path, other, func(*tar.Header, io.Reader) error { return stop }, mismatch},
		{"error of the caller", path, digest, func(*tar.Header, io.Reader) error { return stop }, "read package " + path + ": read data.tar: stop"},
		{"no digest", path, "", ok, "read package " + path + `: "" is not a SHA-256 in hexadecimal`},
		{"short digest", path, digest[2:], ok, "read package " + path + `: "` + digest[2:] + `" is not a SHA-256 in hexadecimal`},
		{"upper case is fine", path, strings.ToUpper(digest), ok, ""},
	}
	for _, test := range tests {
		err := Read(test.path, test.digest, test.f)
		if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
			t.Errorf("%s: got error %v\nwant %s", test.name, err, test.want)
		}
	}
	if err := Read(path+"x", digest, ok); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got error %v", err)
	}
}

func TestAdvise(t *testing.T) {
	mismatch := fmt.Errorf("make layer: %w", &DigestError{Path: "p.deb", Got: "a", Want: "b"})
	tests := []struct {
		name, refetch string
		err           error
		want          string
	}{
		{"digest", "again p", mismatch, "make layer: verify package p.deb: got SHA-256 a, want b; it has changed since it was fetched, to fetch it again run: again p"},
		{"no command", "", mismatch, "make layer: verify package p.deb: got SHA-256 a, want b"},
		{"other error", "again p", fs.ErrNotExist, "file does not exist"},
	}
	for _, test := range tests {
		if got := Advise(test.err, test.refetch); got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%s: got %v, want %s", test.name, got, test.want)
		}
	}
	if got := Advise(nil, "again p"); got != nil {
		t.Errorf("no error: got %v", got)
	}
}

func FuzzReadData(f *testing.F) {
	data := dataTar(f)
	f.Add(pack(version, member("control.tar", nil), member("data.tar", data)))
	f.Add(pack(version, member("data.tar.gz", gzipOf(f, data))))
	f.Add(pack(version, member("data.tar.zst", zstdOf(f, data)), member("x", []byte("y"))))
	f.Fuzz(func(t *testing.T, pkg []byte) {
		// xz is left out: its decoder takes memory as the input tells it to, and
		// is not what is tested.
		if bytes.Contains(pkg, []byte("data.tar.xz")) {
			return
		}
		var total int64
		err := readData(bytes.NewReader(pkg), func(_ *tar.Header, body io.Reader) error {
			n, err := io.CopyN(io.Discard, body, 1<<20)
			if total += n; total > 1<<20 {
				return errors.New("enough")
			}
			if err == io.EOF {
				return nil
			}
			return err
		})
		if err == nil && !bytes.HasPrefix(pkg, []byte(arMagic)) {
			t.Errorf("%.20q is taken for a package", pkg)
		}
	})
}
