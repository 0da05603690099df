package bundle

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func files() fstest.MapFS {
	return fstest.MapFS{
		"vmlinux":     {Data: []byte("kernel")},
		"initrd":      {Data: []byte("initrd")},
		"base.tar.gz": {Data: []byte("base")},
	}
}

func manifest(t *testing.T) *Manifest {
	t.Helper()
	m := &Manifest{Version: Version, Arch: "x86_64"}
	for _, file := range []struct {
		kind Kind
		name string
	}{{Kernel, "vmlinux"}, {Initrd, "initrd"}, {Base, "base.tar.gz"}} {
		described, err := Describe(files(), file.kind, file.name)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, described)
	}
	return m
}

const canonical = `{
  "version": 1,
  "arch": "x86_64",
  "files": [
    {
      "kind": "base",
      "name": "base.tar.gz",
      "sha256": "cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2",
      "size": 4
    },
    {
      "kind": "initrd",
      "name": "initrd",
      "sha256": "09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2",
      "size": 6
    },
    {
      "kind": "kernel",
      "name": "vmlinux",
      "sha256": "6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c",
      "size": 6
    }
  ]
}
`

func TestCanonicalForm(t *testing.T) {
	m := manifest(t)
	got, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(canonical, string(got)); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	parsed, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.File(Kernel), parsed.File(Kernel)); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
}

func TestParseRejects(t *testing.T) {
	data, err := manifest(t).MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	tests := []struct{ name, in, want string }{
		{"no JSON", "", "parse manifest: EOF"},
		{"unknown key", strings.Replace(good, `"arch"`, `"x": 1, "arch"`, 1), `parse manifest: json: unknown field "x"`},
		{"two documents", good + "{}", "parse manifest: more than one document"},
		{"version", strings.Replace(good, `"version": 1`, `"version": 2`, 1), "manifest has version 2, want 1"},
		{"arch", strings.Replace(good, "x86_64", "amd64", 1), `manifest has arch "amd64", want x86_64 or aarch64`},
		{"missing kind", strings.Replace(good, `"initrd"`, `"toy"`, 1), "manifest has 0 files of kind initrd, want 1"},
		{"kind twice", strings.Replace(good, `"kind": "base"`, `"kind": "kernel"`, 1), "manifest has 0 files of kind base, want 1"},
		{"path", strings.Replace(good, `"name": "initrd"`, `"name": "../initrd"`, 1), `manifest has initrd "../initrd", want a file name`},
		{"empty name", strings.Replace(good, `"name": "initrd"`, `"name": ""`, 1), `manifest has initrd "", want a file name`},
		{"digest", strings.Replace(good, `"sha256": "`, `"sha256": "AB`, 1), "manifest has SHA-256 \"AB"},
		{"size", strings.Replace(good, `"size": 4`, `"size": -4`, 1), "manifest has size -4 for base.tar.gz"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.in))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	m := manifest(t)
	if err := m.Verify(files()); err != nil {
		t.Errorf("untouched files: %v", err)
	}
	for name := range files() {
		t.Run(name, func(t *testing.T) {
			flipped := files()
			flipped[name].Data = append([]byte{flipped[name].Data[0] ^ 1}, flipped[name].Data[1:]...)
			var mismatch *MismatchError
			if err := m.Verify(flipped); !errors.As(err, &mismatch) || mismatch.Want.Name != name {
				t.Errorf("one bit flipped: got error %v, want a mismatch of %s", err, name)
			}
			missing := files()
			delete(missing, name)
			if err := m.Verify(missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
				t.Errorf("missing: got error %v, want it to name %s", err, name)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(canonical))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		canonical, err := m.MarshalCanonical()
		if err != nil {
			t.Fatalf("parsed manifest has no canonical form: %v", err)
		}
		if _, err := Parse(canonical); err != nil {
			t.Errorf("canonical form does not parse: %v", err)
		}
	})
}
