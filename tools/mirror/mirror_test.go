package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// fixture is a folder with inputs of a mirror: in/ and the mirror itself, out/.
type fixture struct {
	*inputs
	t   *testing.T
	dir string
	out string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{t: t, dir: dir, out: filepath.Join(dir, "out"), inputs: &inputs{
		lock:      filepath.Join(dir, "lock.json"),
		artifacts: []string{filepath.Join(dir, "in/one.deb"), filepath.Join(dir, "in/two.deb")},
		modules:   filepath.Join(dir, "in/modules"),
		root:      filepath.Join(dir, "root-0123456789ab"),
	}}
	f.write("in/one.deb", "one")
	f.write("in/two.deb", "two!")
	f.write("in/modules/ROOT", "")
	f.write("in/modules/example.com/m/@v/v1.0.0.zip", "zip")
	f.write("in/modules/example.com/m/@v/v1.0.0.ziphash", "not of a proxy")
	f.write("root-0123456789ab/usr/bin/x", "x")
	f.lockArtifacts(deb("a", "one", "one.deb"), deb("b", "two!", "two.deb"))
	return f
}

func sum(content string) string {
	digest := sha256.Sum256([]byte(content))
	return hex.EncodeToString(digest[:])
}

// deb is an entry of the lock.
func deb(name, content, file string) string {
	return fmt.Sprintf(`{"name": %q, "arch": "x86_64", "kind": "base", "version": "1", "license": "MIT", "sha256": %q, "size": %d,
		"package": "p", "path": "pool/main/p/p/%s"}`, name, sum(content), len(content), file)
}

// lockArtifacts writes a lock of these, and those that its profile needs.
func (f *fixture) lockArtifacts(artifacts ...string) {
	f.t.Helper()
	const unpinned = `{"name": "z-%[1]s", "arch": %[2]q, "kind": %[1]q, "version": "1", "license": "MIT", "urls": ["https://example.org/%[1]s-%[2]s"]}`
	for _, kind := range []string{"base", "kernel"} {
		for _, arch := range []string{"aarch64", "x86_64"} {
			artifacts = append(artifacts, fmt.Sprintf(unpinned, kind, arch))
		}
	}
	f.write("lock.json", `{"version": 1, "profiles": {"p": {"base": "z-base", "kernel": "z-kernel"}}, "artifacts": [`+strings.Join(artifacts, ",")+"]}")
}

func (f *fixture) write(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// make makes the mirror and gives what was said.
func (f *fixture) make() (string, error) {
	var stderr bytes.Buffer
	sources, err := f.sources(&stderr)
	if err == nil {
		err = update(f.out, sources, &stderr)
	}
	return stderr.String(), err
}

func (f *fixture) mustMake() string {
	f.t.Helper()
	said, err := f.make()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := verifyMirror(f.out); err != nil {
		f.t.Fatal(err)
	}
	return said
}

// files are the mirror's files with their times.
func (f *fixture) files() map[string]time.Time {
	f.t.Helper()
	files := map[string]time.Time{}
	err := filepath.WalkDir(f.out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		files[strings.TrimPrefix(path, f.out+"/")] = info.ModTime()
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return files
}

func TestMake(t *testing.T) {
	f := newFixture(t)
	said := f.mustMake()
	for _, want := range []string{"mirror: left out z-base (x86_64): the lock has no digest of it\n", "mirror: packing " + f.root} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in:\n%s", want, said)
		}
	}
	manifest, _, err := mirror.Read(f.out)
	if err != nil {
		t.Fatal(err)
	}
	root := manifest.Files[len(manifest.Files)-1]
	want := []mirror.File{
		{Path: "distdir/a_x86_64/one.deb", SHA256: sum("one"), Size: 3},
		{Path: "distdir/b_x86_64/two.deb", SHA256: sum("two!"), Size: 4},
		{Path: "goproxy/example.com/m/@v/v1.0.0.zip", SHA256: sum("zip"), Size: 3},
		{Path: "root-0123456789ab.tar.gz", SHA256: root.SHA256, Size: root.Size},
	}
	if diff := cmp.Diff(want, manifest.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestMakeAgain(t *testing.T) {
	f := newFixture(t)
	f.mustMake()
	before := f.files()
	// What a killed run left, files that are not needed any more, one that is
	// damaged, one that is missing, one whose source has changed.
	f.write("out/.manifest.json123", "")
	f.write("out/root-ba9876543210.tar.gz", "old")
	f.write("out/goproxy/example.org/old/@v/v1.0.0.zip", "old")
	f.write("out/distdir/a_x86_64/one.deb", "eno")
	if err := os.Remove(filepath.Join(f.out, "distdir/b_x86_64/two.deb")); err != nil {
		t.Fatal(err)
	}
	f.write("in/modules/example.com/m/@v/v1.0.0.zip", "piz")
	f.mustMake()
	after := f.files()
	if before["root-0123456789ab.tar.gz"] != after["root-0123456789ab.tar.gz"] {
		t.Error("packed the root again")
	}
	for name := range before {
		delete(after, name)
	}
	if len(after) > 0 {
		t.Errorf("left %v", after)
	}
	if _, err := os.Stat(filepath.Join(f.out, "goproxy/example.org")); err == nil {
		t.Error("left an empty folder")
	}
	if data, err := os.ReadFile(filepath.Join(f.out, "goproxy/example.com/m/@v/v1.0.0.zip")); err != nil || string(data) != "piz" {
		t.Errorf("module is %q, %v", data, err)
	}
	f.write("out/manifest.json", "{")
	if said := f.mustMake(); !strings.Contains(said, "mirror: making all again: ") {
		t.Errorf("broken manifest: said %q", said)
	}
}

func TestInterruptedMirrorIsNone(t *testing.T) {
	f := newFixture(t)
	f.mustMake()
	sources, err := f.sources(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	sources[1].stillIs = func(mirror.File) (bool, error) { return false, nil }
	sources[1].write = func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, full)
	}
	if err := update(f.out, sources, io.Discard); !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "write distdir/b_x86_64/two.deb: ") {
		t.Errorf("got %v", err)
	}
	if _, _, err := mirror.Read(f.out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("manifest: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(f.out, "distdir/b_x86_64/two.deb")); err != nil || string(data) != "two!" {
		t.Errorf("got %q, %v", data, err)
	}
	f.mustMake()
}

func TestMakeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *fixture)
		want   string
	}{
		{"foreign folder", func(f *fixture) { f.write("out/thesis.tex", "") }, "thesis.tex is in it, which is not of a mirror"},
		{"missing artifact", func(f *fixture) { f.artifacts = f.artifacts[1:] }, "no file is artifact a (x86_64), SHA-256 " + sum("one")},
		{"damaged artifact", func(f *fixture) { f.write("in/one.deb", "eno") }, "no file is artifact a (x86_64), SHA-256 " + sum("one")},
		{
			"unknown artifact", func(f *fixture) { f.lockArtifacts(deb("a", "one", "one.deb")) },
			"two.deb, SHA-256 " + sum("two!") + ", is not in the lock",
		},
		{"no modules", func(f *fixture) { f.modules = filepath.Join(f.dir, "root-0123456789ab") }, "list Go modules: there are none"},
		{"odd root", func(f *fixture) { f.root = "/" }, "folder / is not named as a root is"},
		{"no lock", func(f *fixture) { f.lock += "x" }, "read lock: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			c.change(f)
			if _, err := f.make(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A file that is two artifacts is there for both.
func TestSameBytesTwice(t *testing.T) {
	f := newFixture(t)
	f.lockArtifacts(deb("a", "one", "one.deb"), deb("b", "two!", "two.deb"), deb("c", "one", "c.deb"))
	f.mustMake()
	if _, there := f.files()["distdir/c_x86_64/c.deb"]; !there {
		t.Error("c.deb is missing")
	}
}

func TestLeavesOutURLs(t *testing.T) {
	f := newFixture(t)
	f.lockArtifacts(deb("a", "one", "one.deb"), deb("b", "two!", "two.deb"),
		`{"name": "c", "arch": "x86_64", "kind": "base", "version": "1", "license": "MIT", "sha256": "`+sum("c")+`", "urls": ["https://example.org/c"]}`)
	if said, want := f.mustMake(), "left out c (x86_64): it has a URL; --//tools/mirror:urls has Bazel fetch those\n"; !strings.Contains(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	f.write("in/c", "c")
	f.artifacts = append(f.artifacts, filepath.Join(f.dir, "in/c"))
	if said := f.mustMake(); strings.Contains(said, "left out c ") {
		t.Errorf("said %q", said)
	}
}

func TestVerify(t *testing.T) {
	f := newFixture(t)
	f.mustMake()
	getenv := func(name string) string { return map[string]string{"BUILD_WORKING_DIRECTORY": f.dir}[name] }
	var stdout, stderr strings.Builder
	if err := run([]string{"--verify", "out"}, getenv, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	_, digest, err := mirror.Read(f.out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.out+": 4 files, 0 MB, manifest's SHA-256 "+digest+"\n", stdout.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	f.write("out/distdir/a_x86_64/one.deb", "eno")
	f.write("out/goproxy/stray", "")
	err = run([]string{"--verify", f.out}, getenv, &stdout, &stderr)
	want := "verify mirror " + f.out + ": file distdir/a_x86_64/one.deb (SHA-256 " + sum("one") + ", 3 bytes) has SHA-256 " + sum("eno") +
		"\nfile goproxy/stray is not in the manifest"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"no folder", nil, nil, "got 0 folders, want 1"},
		{"two folders", []string{"a", "b"}, nil, "got 2 folders, want 1"},
		{"no workspace", []string{"/d"}, nil, "want to be run by tools/bazel run"},
		{"no root", []string{"/d"}, map[string]string{"BUILD_WORKSPACE_DIRECTORY": "/ws"}, "want KINDLING_BAZEL=closed"},
		{"no mirror", []string{"--verify", "/absent"}, nil, "verify mirror /absent: read manifest: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := run(c.args, func(name string) string { return c.env[name] }, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
