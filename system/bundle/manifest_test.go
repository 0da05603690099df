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
		"x86_64/vmlinux": {Data: []byte("kernel")},
		"x86_64/initrd":  {Data: []byte("initrd")},
		"base.tar.gz":    {Data: []byte("base")},
	}
}

func manifest(t *testing.T) *Manifest {
	t.Helper()
	m := &Manifest{Version: Version, AgentProtocol: AgentProtocol, Architectures: []Architecture{{Arch: "x86_64", CommandLine: "console=ttyS0 a<b"}}}
	for _, file := range []struct {
		kind Kind
		name string
	}{{Kernel, "x86_64/vmlinux"}, {Initrd, "x86_64/initrd"}, {Base, "base.tar.gz"}} {
		described, err := Describe(files(), file.kind, file.name)
		if err != nil {
			t.Fatal(err)
		}
		m.Architectures[0].Files = append(m.Architectures[0].Files, described)
	}
	return m
}

const canonical = `{
  "version": 1,
  "agentProtocol": "hypeman-0.0.7",
  "architectures": [
    {
      "arch": "x86_64",
      "commandLine": "console=ttyS0 a<b",
      "files": [
        {
          "kind": "base",
          "name": "base.tar.gz",
          "sha256": "cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2",
          "size": 4
        },
        {
          "kind": "initrd",
          "name": "x86_64/initrd",
          "sha256": "09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2",
          "size": 6
        },
        {
          "kind": "kernel",
          "name": "x86_64/vmlinux",
          "sha256": "6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c",
          "size": 6
        }
      ]
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
	if err := parsed.Architectures[0].Verify(files()); err != nil {
		t.Errorf("parsed manifest: %v", err)
	}
	const want = "sha256:70206a615fd81afb6c8ddc23f0d6864eb6071d0eb8909d3358fa8e7cb5107897"
	if id, err := m.ID(); err != nil || id != want {
		t.Errorf("ID = %s, %v, want %s", id, err, want)
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
		{"no arch", `{"version": 1, "agentProtocol": "x", "architectures": []}`, "manifest has no architecture"},
		{"no protocol", strings.Replace(good, AgentProtocol, "", 1), "manifest names no agent protocol"},
		{"missing kind", strings.Replace(good, `"kind": "initrd"`, `"kind": "sbom"`, 1), "manifest for x86_64: no file is of kind initrd"},
		{"unknown kind", strings.Replace(good, `"kind": "initrd"`, `"kind": "toy"`, 1), `manifest for x86_64: kind "toy" is unknown`},
		{"kind twice", strings.Replace(good, `"kind": "base"`, `"kind": "kernel"`, 1), "manifest for x86_64: more than one file is of kind kernel"},
		{"name twice", strings.Replace(good, `"x86_64/initrd"`, `"base.tar.gz"`, 1), `manifest for x86_64: two files have the name "base.tar.gz"`},
		{"path", strings.Replace(good, `"x86_64/initrd"`, `"../initrd"`, 1), `manifest for x86_64: initrd has name "../initrd", want a path below the manifest's folder`},
		{"empty name", strings.Replace(good, `"x86_64/initrd"`, `""`, 1), `manifest for x86_64: initrd has name "", want a path below the manifest's folder`},
		{"digest", strings.Replace(good, `"sha256": "`, `"sha256": "AB`, 1), "manifest for x86_64: base.tar.gz has SHA-256 \"AB"},
		{"size", strings.Replace(good, `"size": 4`, `"size": -4`, 1), "manifest for x86_64: base.tar.gz has size -4"},
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

func TestParseRejectsArchTwice(t *testing.T) {
	m := manifest(t)
	m.Architectures = append(m.Architectures, m.Architectures[0])
	if _, err := m.MarshalCanonical(); err == nil || err.Error() != "manifest has arch x86_64 twice" {
		t.Errorf("got error %v", err)
	}
}

func TestVerify(t *testing.T) {
	m := &manifest(t).Architectures[0]
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
