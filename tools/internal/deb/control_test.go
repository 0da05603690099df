package deb

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const control = "Package: linux\nSource: a\nVersion: 6.1-1\narchitecture: amd64\nDescription: kernel\n Package: of something\n"

// tarOf has files, each a name and a text.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestReadControl(t *testing.T) {
	archive := tarOf(t, "./md5sums", "x", "./control", control)
	data := member("data.tar", nil)
	tests := []struct {
		name string
		pkg  []byte
	}{
		{"plain", pack(version, member("control.tar", archive), data)},
		{"xz", pack(version, member("control.tar.xz", xzOf(t, archive)), data)},
		{"zstd, others between", pack(version, member("_odd", []byte("x")), member("control.tar.zst", zstdOf(t, archive)), data, member("_sig", nil))},
		{"name without dot", pack(version, member("control.tar.gz", gzipOf(t, tarOf(t, "control", control))), data)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadControl(bytes.NewReader(test.pkg))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Control{"linux", "6.1-1", "amd64"}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadControlRejects(t *testing.T) {
	data := member("data.tar", []byte("data"))
	with := func(text string) []byte {
		return pack(version, member("control.tar", tarOf(t, "./control", text)), data)
	}
	good := with(control)
	tests := []struct {
		name string
		pkg  []byte
		want string
	}{
		{"empty", nil, "read ar magic: EOF"},
		{"HTML", []byte("<html>not found</html>"), "not an ar archive"},
		{"nothing in it", pack(), `first member is "", not debian-binary`},
		{"other archive", pack(data), `first member is "data.tar", not debian-binary`},
		{"no control.tar", pack(version, data), "package has no control.tar"},
		{"no data.tar", good[:len(good)-len(data)], "package has no data.tar"},
		{"cut", good[:len(good)-1], "read ar member: unexpected EOF"},
		{"cut in control.tar", good[:600], "read control.tar: unexpected EOF"},
		{"two of control.tar", pack(version, member("control.tar", tarOf(t, "control", control)), member("control.tar", nil)), "package has two of control.tar"},
		{"no file", pack(version, member("control.tar", tarOf(t, "md5sums", control)), data), "read control.tar: no file control"},
		{"two files", pack(version, member("control.tar", tarOf(t, "control", control, "./control", control)), data), "read control.tar: file control stands twice"},
		{"long file", with(strings.Repeat("x", maxControl+1)), "read control.tar: file control has 1048577 bytes, want at most 1048576"},
		{"no fields", with(""), "read control.tar: control lacks one of Package, Version and Architecture"},
		{"two versions", with(control + "VERSION: 2\n"), "read control.tar: control has two fields VERSION"},
		{"empty version", with("Version:\n 1\n"), "read control.tar: control has an empty field Version"},
		{"not compressed", pack(version, member("control.tar.gz", []byte("x")), data), "read control.tar.gz: unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ReadControl(bytes.NewReader(test.pkg)); err == nil || err.Error() != "read package: "+test.want {
				t.Errorf("got error %v\nwant read package: %s", err, test.want)
			}
		})
	}
}

func FuzzReadControl(f *testing.F) {
	f.Add(pack(version, member("control.tar", tarOf(f, "./control", control)), member("data.tar", nil)))
	f.Add(pack(version, member("control.tar.gz", gzipOf(f, tarOf(f, "./control", control))), member("data.tar", nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadControl(bytes.NewReader(data))
		if err == nil && (got.Package == "" || got.Version == "" || got.Architecture == "") {
			t.Errorf("got %+v with no error", got)
		}
	})
}
