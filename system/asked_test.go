package system

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
)

// installFor installs a set for architectures.
func installFor(t testing.TB, s *Store, set fakeSet, arches ...string) {
	t.Helper()
	if _, err := s.Install(t.Context(), set.id, arches...); err != nil {
		t.Fatal(err)
	}
}

// stored is where a file of the set is, for an architecture.
func (f fakeSet) stored(s *Store, arch string, kind bundle.Kind) string {
	a, _ := f.manifest.Architecture(arch)
	file, _ := a.File(kind)
	return filepath.Join(s.dataDir, "system", location(arch, file))
}

func TestArchitecturesAskedFor(t *testing.T) {
	const x86, arm = "x86_64", "aarch64"
	// They have the same kernel.json.
	both, one := makeSet(t, 1), makeSet(t, 2)
	note := func(s *Store) string { return filepath.Join(s.dataDir, "system", askedPath(one.id)) }
	for _, test := range []struct {
		name    string
		later   []string // architectures of one that are installed afterwards
		change  func(s *Store) error
		missing []string // of one
		asked   []string
	}{
		{name: "never", asked: []string{x86}},
		{name: "again", later: []string{x86, x86}, asked: []string{x86}},
		{name: "later", later: []string{arm}, asked: []string{arm, x86}},
		{name: "a file gone", later: []string{arm}, change: func(s *Store) error {
			return os.Remove(one.stored(s, arm, bundle.Initrd))
		}, missing: []string{"aarch64 initrd"}, asked: []string{arm, x86}},
		{name: "all gone", change: func(s *Store) error {
			return errors.Join(os.Remove(one.stored(s, x86, bundle.Initrd)), os.Remove(one.stored(s, x86, bundle.Kernel)),
				os.Remove(one.stored(s, x86, bundle.KernelInfo)))
		}, missing: []string{"x86_64 kernel", "x86_64 initrd", "x86_64 kernel-info"}, asked: []string{x86}},
		{name: "in quarantine", later: []string{arm}, change: func(s *Store) error {
			name := one.stored(s, arm, bundle.Kernel)
			if err := os.WriteFile(name, []byte("other"), 0o755); err != nil {
				return err
			}
			if _, err := s.Verify(t.Context(), one.id); !isCorrupt(err) {
				return fmt.Errorf("Verify of a corrupt kernel: got error %w", err)
			}
			return nil
		}, missing: []string{"aarch64 kernel"}, asked: []string{arm, x86}},
		{name: "not noted", change: func(s *Store) error { return os.Remove(note(s)) },
			missing: []string{"aarch64 kernel", "aarch64 initrd"}},
		{name: "not noted, and installed again", change: func(s *Store) error {
			err := os.Remove(note(s))
			_, again := s.Install(t.Context(), one.id, x86)
			return errors.Join(err, again)
		}, missing: []string{"aarch64 kernel", "aarch64 initrd"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sources := []Source{Dir(both.dir), Dir(one.dir)}
			s := NewStore(t.TempDir(), Options{Sources: sources})
			installFor(t, s, both, x86, arm)
			installFor(t, s, one, x86)
			if test.later != nil {
				installFor(t, s, one, test.later...)
			}
			offline := NewStore(s.dataDir, Options{})
			if test.change != nil {
				if err := test.change(offline); err != nil {
					t.Fatal(err)
				}
			}
			files, err := offline.Verify(t.Context(), one.id)
			if isNotInstalled(err) != (test.missing != nil) || err != nil && !isNotInstalled(err) {
				t.Errorf("Verify: got error %v", err)
			}
			missing := map[string]bool{}
			for _, file := range files {
				if file.Err != nil {
					missing[file.Arch+" "+string(file.File.Kind)] = true
				}
			}
			want := map[string]bool{}
			for _, name := range test.missing {
				want[name] = true
			}
			if diff := cmp.Diff(want, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			sets, err := offline.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, set := range sets {
				if diff := cmp.Diff(test.asked, set.Asked); set.ID == one.id && diff != "" {
					t.Errorf("Asked (-want +got):\n%s", diff)
				}
			}
			err = offline.SetLatest(t.Context(), one.id)
			if got, want := isNotInstalled(err), test.missing != nil && test.asked != nil; got != want || err != nil && !got {
				t.Errorf("SetLatest: got error %v, want one: %v", err, want)
			}
			if _, err := s.Verify(t.Context()); err != nil {
				t.Errorf("Verify with sources: %v", err)
			}
		})
	}
}

func isCorrupt(err error) bool {
	_, ok := errors.AsType[*CorruptError](err)
	return ok
}

func TestNoteOfArchitecturesIsCorrupt(t *testing.T) {
	set := makeSet(t, 1)
	for _, note := range []string{
		"", "{", "[]", "{}", `{"version": 1}`,
		`{"version": 1, "arches": []}`,
		`{"version": 2, "arches": ["x86_64"]}`,
		`{"version": 1, "arches": ["x86_64"], "more": 1}`,
		`{"version": 1, "arches": ["x86_64"], "arches": ["aarch64"]}`,
		`{"version": 1, "arches": ["x86_64", "aarch64"]}`,
		`{"version": 1, "arches": ["x86_64", "x86_64"]}`,
		`{"version": 1, "arches": ["riscv64"]}`,
		`{"version": 1, "arches": ["x86_64"]} {}`,
	} {
		s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(set.dir)}})
		installFor(t, s, set, "x86_64")
		name := filepath.Join(s.dataDir, "system", askedPath(set.id))
		writeFile(t, name, []byte(note))
		_, verify := s.Verify(t.Context())
		_, list := s.List(t.Context())
		for _, err := range []error{verify, list, s.SetLatest(t.Context(), set.id)} {
			if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.Path != name {
				t.Errorf("%s: got error %v, want that %s is corrupt", note, err, name)
			}
		}
		if _, err := s.Resolve(t.Context(), set.id, "x86_64"); err != nil {
			t.Errorf("%s: Resolve: %v", note, err)
		}
		// What it said is not known: the set is one without note from now on.
		installFor(t, s, set, "x86_64")
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s: after Install: got error %v, want no note", note, err)
		}
		if _, err := s.Verify(t.Context()); err != nil {
			t.Errorf("%s: after Install: %v", note, err)
		}
	}
}

// TestFailedInstallOfAnotherArchitecture fails at each step, on a set of which
// another architecture is there already.
func TestFailedInstallOfAnotherArchitecture(t *testing.T) {
	both, one := makeSet(t, 1), makeSet(t, 2)
	ready := func() *Store {
		s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(both.dir), Dir(one.dir)}})
		installFor(t, s, both, "aarch64", "x86_64")
		installFor(t, s, one, "x86_64")
		return s
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EROFS} {
		s, at := ready(), 0
		before := tree(t, s.dataDir)
		for done := false; !done; at++ {
			failing := NewStore(s.dataDir, Options{Sources: []Source{Dir(one.dir)}, fault: failAfter(at, errno)})
			_, err := failing.Install(t.Context(), one.id, "aarch64")
			if done = err == nil; !done && !errors.Is(err, errno) {
				t.Fatalf("%v at step %d: got error %v", errno, at, err)
			}
			if _, err := NewStore(s.dataDir, Options{}).Verify(t.Context()); err != nil {
				t.Errorf("%v at step %d: Verify: %v", errno, at, err)
			}
			_, err = s.Resolve(t.Context(), one.id, "aarch64")
			if done && err != nil || err != nil && !isNotInstalled(err) {
				t.Errorf("%v at step %d: Resolve: %v", errno, at, err)
			}
			if err == nil {
				s = ready() // only the last steps failed, after which it is installed
			} else if names := differ(before, tree(t, s.dataDir)); len(names) > 0 {
				t.Fatalf("%v at step %d: leftovers %v", errno, at, names)
			}
		}
		t.Logf("%v: %d steps failed in turn", errno, at-1)
	}
}

// TestKilledInstallBesideSharedFiles kills what installs a set, and another
// architecture of it, that has files in place for another set.
func TestKilledInstallBesideSharedFiles(t *testing.T) {
	both, one := makeSet(t, 1), makeSet(t, 2)
	for _, test := range []struct{ name, there, arch string }{
		{name: "first architecture", arch: "x86_64"},
		{name: "another architecture", there: "x86_64", arch: "aarch64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ready := func() *Store {
				s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(both.dir), Dir(one.dir)}})
				installFor(t, s, both, "aarch64", "x86_64")
				if test.there != "" {
					installFor(t, s, one, test.there)
				}
				return s
			}
			putIn := func(s *Store) {
				t.Helper()
				installFor(t, s, one, test.arch)
				if err := s.SetLatest(t.Context(), one.id); err != nil {
					t.Fatal(err)
				}
			}
			s := ready()
			var steps atomic.Int64
			putIn(NewStore(s.dataDir, Options{Sources: []Source{Dir(one.dir)}, fault: func(string, string) error {
				steps.Add(1)
				return nil
			}}))
			after := tree(t, s.dataDir)
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d, %d steps", seed, steps.Load())
			for range *kills / 4 {
				at := 1 + random.IntN(int(steps.Load()))
				s := ready()
				helper := helperProcess(t, helperInstall{
					DataDir: s.dataDir, Folder: one.dir, ID: one.id, Arches: []string{test.arch}, KillAt: at,
				})
				out, err := helper.CombinedOutput()
				if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
					t.Fatalf("killed at step %d: %v\n%s", at, err, out)
				}
				if _, err := s.Resolve(t.Context(), one.id, test.arch); err != nil && !isNotInstalled(err) {
					t.Errorf("killed at step %d: neither absent nor complete: %v", at, err)
				}
				if _, err := NewStore(s.dataDir, Options{}).Verify(t.Context()); err != nil {
					t.Errorf("killed at step %d: Verify: %v", at, err)
				}
				putIn(s)
				if names := differ(after, tree(t, s.dataDir)); len(names) > 0 {
					t.Errorf("killed at step %d: after the next run: %v", at, strings.Join(names, " "))
				}
			}
		})
	}
}
