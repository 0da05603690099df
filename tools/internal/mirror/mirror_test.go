package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func file(path, content string) File {
	sum := sha256.Sum256([]byte(content))
	return File{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

func write(t *testing.T, dir, path, content string) {
	t.Helper()
	name := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

const canonical = `{
  "version": 1,
  "files": [
    {
      "path": "a/b",
      "sha256": "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0",
      "size": 3
    },
    {
      "path": "a<",
      "sha256": "3e744b9dc39389baf0c5a0660589b8402f3dbb49b89b3e75f2c9355852a3c677",
      "size": 2
    }
  ]
}
`

func TestManifest(t *testing.T) {
	want := &Manifest{[]File{file("a/b", "aaa"), {Path: "a<", SHA256: "3e744b9dc39389baf0c5a0660589b8402f3dbb49b89b3e75f2c9355852a3c677", Size: 2}}}
	data, err := (&Manifest{[]File{want.Files[1], want.Files[0]}}).MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(canonical, string(data)); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	got, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
	if f, ok := got.Lookup("a<"); !ok || f != want.Files[1] {
		t.Errorf("Lookup: got %v, %v", f, ok)
	}
	if f, ok := got.Lookup("a"); ok {
		t.Errorf("Lookup: got %v", f)
	}
	if diff := cmp.Diff(want.Files[:1], got.Below("a")); diff != "" {
		t.Errorf("Below a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Files, got.Below(".")); diff != "" {
		t.Errorf("Below . (-want +got):\n%s", diff)
	}
}

func TestParseRejects(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"cut short", "\n  ]\n}\n", "", "parse manifest: unexpected end of JSON input"},
		{"version", `"version": 1`, `"version": 2`, "parse manifest: version is 2, want 1"},
		{"unknown key", `"version": 1,`, `"version": 1, "x": 1,`, "parse manifest: it is not as tools/mirror writes it"},
		{"missing key", `"size": 3`, `"x": 3`, "parse manifest: it is not as tools/mirror writes it"},
		{"order", "a/b", "b", "parse manifest: it is not as tools/mirror writes it"},
		{"twice", "a/b", "a<", `parse manifest: file "a<" stands twice`},
		{"outside", "a/b", "../b", `parse manifest: file "../b" is not one of a mirror`},
		{"absolute", "a/b", "/b", `parse manifest: file "/b" is not one of a mirror`},
		{"itself", "a/b", "manifest.json", `parse manifest: file "manifest.json" is not one of a mirror`},
		{"digest", "9834", "983", `parse manifest: file "a/b": SHA-256 is "983876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0", want 64 hexadecimal digits`},
		{"size", `"size": 3`, `"size": -3`, `parse manifest: file "a/b": size is -3`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := strings.Replace(canonical, c.old, c.new, 1)
			if data == canonical {
				t.Fatal("nothing changed")
			}
			if _, err := Parse([]byte(data)); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
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
		if again, err := m.MarshalCanonical(); err != nil || string(again) != string(data) {
			t.Errorf("got %q, %v", again, err)
		}
	})
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Read(dir); err == nil || !strings.HasPrefix(err.Error(), "read manifest: open "+dir) {
		t.Errorf("without manifest: got %v", err)
	}
	write(t, dir, ManifestName, canonical)
	m, digest, err := Read(dir)
	if err != nil || len(m.Files) != 2 {
		t.Fatalf("got %v, %v", m, err)
	}
	if want := file("", canonical).SHA256; digest != want {
		t.Errorf("got digest %s, want %s", digest, want)
	}
}

func TestLookAndVerify(t *testing.T) {
	all := []File{file("a/one", "1"), file("a/two", "22"), file("three", "333")}
	for _, c := range []struct {
		name         string
		change       func(dir string) error
		look, verify string // errors
	}{
		{name: "whole", change: func(string) error { return nil }},
		{
			name:   "missing",
			change: func(dir string) error { return os.Remove(filepath.Join(dir, "a/two")) },
			look:   "file " + all[1].String() + " is missing", verify: "file " + all[1].String() + " is missing",
		},
		{
			name:   "many missing",
			change: func(dir string) error { return os.RemoveAll(filepath.Join(dir, "a")) },
			look:   "file " + all[0].String() + " is missing; and 1 more files",
			verify: "file " + all[0].String() + " is missing\nfile " + all[1].String() + " is missing",
		},
		{
			name:   "short",
			change: func(dir string) error { return os.Truncate(filepath.Join(dir, "a/two"), 1) },
			look:   "file " + all[1].String() + " has 1 bytes", verify: "file " + all[1].String() + " has 1 bytes",
		},
		{
			name:   "other bytes",
			change: func(dir string) error { return os.WriteFile(filepath.Join(dir, "three"), []byte("444"), 0o644) },
			verify: "file " + all[2].String() + " has SHA-256 " + file("", "444").SHA256,
		},
		{
			name: "folder",
			change: func(dir string) error {
				if err := os.Remove(filepath.Join(dir, "three")); err != nil {
					return err
				}
				return os.Mkdir(filepath.Join(dir, "three"), 0o755)
			},
			look: "file " + all[2].String() + " is no plain file", verify: "file " + all[2].String() + " is no plain file",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for path, content := range map[string]string{"a/one": "1", "a/two": "22", "three": "333"} {
				write(t, dir, path, content)
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			m := &Manifest{all}
			if diff := cmp.Diff(c.look, message(m.Look(dir))); diff != "" {
				t.Errorf("Look (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.verify, message(m.Verify(dir, "."))); diff != "" {
				t.Errorf("Verify (-want +got):\n%s", diff)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
