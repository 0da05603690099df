// Package systemtest finds the artifact set that Bazel built for a test, which
// has //system:bundle or //system:bundle_ARCH in its data.
//
// It is for tests of hosts. A host itself does not look into runfiles.
package systemtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/kindling-vm/kindling/system"
)

// Source is the set in the runfiles of the test, with files for an architecture.
func Source(t testing.TB, arch string) system.Source {
	t.Helper()
	return system.Dir(folder(t, arch))
}

// Open verifies the set and gives its part for an architecture.
func Open(t testing.TB, arch string) *system.Set {
	t.Helper()
	set, err := system.Open(filepath.Join(folder(t, arch), "manifest.json"), arch)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Store is a store in a folder of the test, with the set installed as the latest
// one for this machine.
func Store(t testing.TB) *system.Store {
	t.Helper()
	s := system.NewStore(t.TempDir(), system.Options{Sources: []system.Source{Source(t, system.GetArch())}})
	if err := s.EnsureSystemFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func folder(t testing.TB, arch string) string {
	t.Helper()
	files, err := runfiles.New()
	if err != nil {
		t.Fatalf("find runfiles: %v", err)
	}
	name, err := find(files, runfiles.CurrentRepository(), arch)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// find looks for the set of both architectures, then for that of one.
func find(files *runfiles.Runfiles, repository, arch string) (string, error) {
	if repository == "" {
		repository = "_main"
	}
	for _, target := range []string{"bundle", "bundle_" + arch} {
		name, err := files.Rlocation(path.Join(repository, "system", target, "manifest.json"))
		if err != nil {
			continue // a list of runfiles has no such name
		}
		if _, err := os.Stat(name); err == nil {
			return filepath.Dir(name), nil
		}
	}
	return "", fmt.Errorf("find artifact set in runfiles: add //system:bundle_%s to the test's data", arch)
}
