//go:build vm

// Package repro has the test that artifacts have the same bytes whoever builds
// them, where and how.
package repro

import (
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/test/internal/nestedbazel"
)

// TestSameBytes builds the artifact set a second time and compares it with the
// one that the build has made that runs the test. Of the second one everything
// is different that must not matter: user, home, umask, time zone, path of the
// workspace and of the output base, and times of the sources. It has no network.
// That the number of processors does not matter is tested with the one tool that
// uses more than one, tools/internal/squashfs.
func TestSameBytes(t *testing.T) {
	want := readManifest(t, rlocation(t, "_main/system/bundle/manifest.json"))
	w := nestedbazel.Find(t).New(t, filepath.Join(t.TempDir(), "another place", "ws"))
	w.Prefix = []string{"/bin/sh", "-c", `umask 077 && exec unshare --user --map-user=4321 --map-group=4321 "$@"`, "sh"}
	w.Env = []string{"TZ=Asia/Tokyo", "LANG=C", "LC_ALL=C"}
	touch(t, w.Dir)
	output, err := w.Run("build", "//system:bundle")
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	got := readManifest(t, filepath.Join(w.Dir, "bazel-bin/system/bundle/manifest.json"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("artifact set (-this build, +other build):\n%s", diff)
	}
	id, err := got.ID()
	if err != nil {
		t.Fatal(err)
	}
	log.Printf("artifact set %s", id)
	// The manifest's own digests could be wrong in the same way.
	dir := os.DirFS(filepath.Join(w.Dir, "bazel-bin/system/bundle"))
	for _, arch := range want.Architectures {
		if err := arch.Verify(dir); err != nil {
			t.Error(err)
		}
	}
}

func rlocation(t *testing.T, path string) string {
	t.Helper()
	name, err := runfiles.Rlocation(path)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func readManifest(t *testing.T, name string) *bundle.Manifest {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// touch gives every file below dir another time.
func touch(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Type()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
}
