package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// thisRoot is what this checkout calls its root.
var thisRoot = "root-" + digest(append(packages, suite)...)

// makeMirror makes a mirror of these files beside a root, and opens it.
func (b *fixture) makeMirror(files map[string]string) *offline {
	b.t.Helper()
	all := map[string]string{mirror.RootArchive(thisRoot): b.archive(map[string]string{"./usr/share/bazel/build-label.txt": "7.7.1\n"})}
	for path, content := range files {
		all[path] = content
	}
	m := &mirror.Manifest{}
	for path, content := range all {
		b.write("mirror/"+path, content)
		sum := sha256.Sum256([]byte(content))
		m.Files = append(m.Files, mirror.File{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))})
	}
	data, err := m.MarshalCanonical()
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("mirror/manifest.json", string(data))
	opened, err := openMirror(b.path("mirror"))
	if err != nil {
		b.t.Fatal(err)
	}
	return opened
}

func (b *fixture) archive(files map[string]string) string {
	b.t.Helper()
	var data bytes.Buffer
	compressed := gzip.NewWriter(&data)
	w := tar.NewWriter(compressed)
	for name, content := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		b.t.Fatal(err)
	}
	return data.String()
}

func TestClosedFromMirror(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.fake("apt-get", "exit 1")
	b.fake("mmdebstrap", "exit 1")
	b.fake("bazelisk", fakeBazel) // which is not asked
	b.fake("go", strings.Replace(b.read("bin/go"), `"$GOFLAGS`, `"$GOPROXY $GOSUMDB $GONOPROXY $GOFLAGS`, 1))
	b.mirror = b.makeMirror(map[string]string{
		"distdir/a_x86_64/a.deb":          "a",
		"distdir/b c_all/b.deb":           "b",
		"goproxy/example.com/m/@v/v1.zip": "zip",
	})
	start, err := b.command(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	archive, err := b.mirror.root(thisRoot)
	if err != nil {
		t.Fatal(err)
	}
	root := b.path("cache/kindling/closed/" + thisRoot + "-" + archive.SHA256[:12])
	if start.env[1] != (variable{"KINDLING_ROOT", root}) || !slices.Contains(start.args, root) || len(start.env) != 2 {
		t.Errorf("root is not %s: %v %v", root, start.env, start.args)
	}
	if data, err := os.ReadFile(root + "/usr/share/bazel/build-label.txt"); err != nil || string(data) != "7.7.1\n" {
		t.Errorf("root has %q, %v", data, err)
	}
	index := slices.IndexFunc(start.args, func(arg string) bool { return strings.HasPrefix(arg, "--bazelrc=") })
	options, err := os.ReadFile(strings.TrimPrefix(start.args[index], "--bazelrc="))
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(options), "# The mirror in place of every download:\n")
	want := `common "--distdir=$DIR/mirror/distdir/a_x86_64"
common "--distdir=$DIR/mirror/distdir/b c_all"
common "--repo_env=GOPROXY=file://$DIR/mirror/goproxy"
common "--repo_env=GOSUMDB=off"
common "--repo_env=GONOPROXY=none"
`
	if diff := cmp.Diff(want, strings.ReplaceAll(got, b.dir, "$DIR")); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	for _, env := range b.calls("go-env") {
		if env != "file://"+b.path("mirror/goproxy")+" off none -mod=mod off go1.2.3" {
			t.Errorf("go saw another network: %s", env)
		}
	}
	for _, name := range []string{"apt-get", "mmdebstrap", "bazelisk"} {
		if calls := b.calls(name); len(calls) > 0 {
			t.Errorf("asked %s: %v", name, calls)
		}
	}
	hasAll(t, b.err.String(), "KINDLING_MIRROR="+b.path("mirror"), "unpacking the mirror's root with Bazel to "+root)
	if _, err := b.command(t.Context(), "open"); err == nil || err.Error() != "KINDLING_MIRROR does not go with KINDLING_BAZEL=open" {
		t.Errorf("open: got %v", err)
	}

	// What another mirror brings is not taken for this one's.
	b.mirror = b.makeMirror(map[string]string{"goproxy/example.com/m/@v/v1.zip": "other"})
	if _, err := b.command(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if got := b.folders("cache/kindling/closed", "modules-"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestBrokenMirror(t *testing.T) {
	const zip = "mirror/goproxy/example.com/m/@v/v1.zip"
	sum := sha256.Sum256([]byte("zip"))
	named := "goproxy/example.com/m/@v/v1.zip (SHA-256 " + hex.EncodeToString(sum[:]) + ", 3 bytes)"
	root := "mirror/" + mirror.RootArchive(thisRoot)
	for _, c := range []struct {
		name   string
		change func(b *fixture)
		want   []string
	}{
		{"missing", func(b *fixture) { b.remove(zip) }, []string{"file " + named + " is missing"}},
		{"short", func(b *fixture) { b.write(zip, "z") }, []string{"file " + named + " has 1 bytes"}},
		{"other module", func(b *fixture) { b.write(zip, "piz") }, []string{"copying", "file " + named + " has SHA-256 "}},
		{"other root", func(b *fixture) {
			b.write(root, strings.Repeat("x", len(b.read(root))))
		}, []string{"make Debian root: ", mirror.RootArchive(thisRoot) + " (SHA-256 ", " has SHA-256 "}},
		{"damaged at its end", func(b *fixture) {
			data := b.read(root)
			b.write(root, data[:len(data)-1]+"\xff")
		}, []string{"make Debian root: ", mirror.RootArchive(thisRoot) + " (SHA-256 ", " has SHA-256 "}},
		{"no manifest", func(b *fixture) { b.remove("mirror/manifest.json") }, []string{"read manifest: "}},
		{"no bubblewrap", func(b *fixture) { b.remove("bin/bwrap") }, []string{"find bubblewrap, which must be installed beside a mirror"}},
		{"other packages", func(b *fixture) {
			b.write("mirror/manifest.json", "{\n  \"version\": 1,\n  \"files\": []\n}\n")
		}, []string{"it has no " + mirror.RootArchive(thisRoot) + ", which is the root of this checkout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFixture(t)
			b.closedWorld()
			b.makeMirror(map[string]string{"goproxy/example.com/m/@v/v1.zip": "zip"})
			c.change(b)
			m, err := openMirror(b.path("mirror"))
			if err == nil {
				b.mirror = m
				_, err = b.command(t.Context(), "")
			}
			if err == nil {
				t.Fatal("no error")
			}
			hasAll(t, b.err.String()+err.Error(), c.want...)
			if c.name != "no bubblewrap" {
				hasAll(t, err.Error(), "use mirror "+b.path("mirror")+": ", "tools/bazel run //tools/mirror -- DIR")
			}
			if got := append(b.folders("cache/kindling/closed", "modules-"), b.folders("cache/kindling/closed", thisRoot+"-")...); strings.Contains(strings.Join(got, " "), "partial") {
				t.Errorf("left %v", got)
			}
		})
	}
}

func (b *fixture) remove(name string) {
	b.t.Helper()
	if err := os.Remove(b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

func TestRunWithMirror(t *testing.T) {
	b := newFixture(t)
	var out, stderr strings.Builder
	for dir, want := range map[string]string{
		"relative":       `KINDLING_MIRROR is "relative", want an absolute path`,
		b.path("absent"): "use mirror " + b.path("absent") + ": read manifest: ",
	} {
		t.Setenv("KINDLING_MIRROR", dir)
		if err := run(t.Context(), []string{b.path("ws"), b.path("ws")}, &out, &stderr); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
