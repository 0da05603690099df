package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStateDir(t *testing.T) {
	t.Chdir("/tmp")
	tests := []struct{ kindling, xdg, home, want string }{
		{"/a", "/b", "/c", "/a"},
		{"a/../b", "/b", "/c", "/tmp/b"},
		{"", "/b", "/c", "/b/kindling"},
		{"", "b", "/c", "/c/.local/state/kindling"},
		{"", "", "/c", "/c/.local/state/kindling"},
	}
	for _, test := range tests {
		t.Setenv("KINDLING_STATE_DIR", test.kindling)
		t.Setenv("XDG_STATE_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		if got, err := stateDir(); err != nil || got != test.want {
			t.Errorf("with %q: got %q, error %v", test, got, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "0", "Web-1_b.c", strings.Repeat("a", 32), "a.lock"} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", ".claims", "-a", "_a", "a/b", "a b", "a\n", "ä", strings.Repeat("a", 33)} {
		if err := checkName(name); !errors.As(err, &usageError{}) {
			t.Errorf("name %q: got error %v, want a usage error", name, err)
		}
	}
}

func TestClaim(t *testing.T) {
	h := newHost(t)
	dir, release, err := claim(h.state, "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got folder %v, error %v, want it private", info, err)
	}
	if _, _, err := claim(h.state, "web"); err == nil || err.Error() != "a machine called web is running; choose another --name" {
		t.Errorf("second claim: got error %v", err)
	}
	if got := kindling("run", "--name", "web"); got.Code != 125 || !strings.Contains(got.Stderr, "a machine called web is running") {
		t.Errorf("run: got %+v", got)
	}
	_, releaseOther, err := claim(h.state, "other")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"vm/other", "vm/web", "lock/other", "lock/web"}, h.machineFiles(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := errors.Join(releaseOther(), release()); err != nil {
		t.Error(err)
	}
	h.requireReleased(t)
	if _, release, err = claim(h.state, "web"); err != nil {
		t.Fatalf("claim once more: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	h.requireReleased(t)
}

func TestClaimSweeps(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"vm/web/deep", "vm/other", "lock"} {
		if err := os.MkdirAll(filepath.Join(h.state, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lock/web", "vm/web/disk", "lock/other", "lock/died-before-its-folder"} {
		if err := os.WriteFile(filepath.Join(h.state, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, release, err := claim(h.state, "web")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("got %v, error %v, want an empty folder", entries, err)
	}
	if diff := cmp.Diff([]string{"vm/web", "lock/web"}, h.machineFiles(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

// KINDLING_STATE_DIR may be a place with other things.
func TestClaimLeavesOtherFolders(t *testing.T) {
	h := newHost(t)
	mine := filepath.Join(h.state, "vm", "web", "mine")
	if err := os.MkdirAll(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := claim(h.state, "web"); !errors.Is(err, os.ErrExist) {
			t.Errorf("got error %v, want %v", err, os.ErrExist)
		}
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestClaimAtOnce(t *testing.T) {
	h := newHost(t)
	const rounds = 20
	var holders sync.Map
	var group sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("vm-%d", i%3)
		group.Go(func() {
			for range rounds {
				dir, release, err := claim(h.state, name)
				if err != nil {
					if !strings.Contains(err.Error(), "is running") {
						t.Error(err)
					}
					continue
				}
				if _, held := holders.LoadOrStore(name, i); held {
					t.Errorf("%s is claimed twice", name)
				}
				if err := os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600); err != nil {
					t.Errorf("folder of a claimed machine: %v", err)
				}
				holders.Delete(name)
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	h.requireReleased(t)
}

func TestRunning(t *testing.T) {
	h := newHost(t)
	if _, _, err := running(t.Context(), h.state, "web"); err == nil || err.Error() != "no machine called web is running" {
		t.Errorf("before: got error %v", err)
	}
	want, release, err := claim(h.state, "web")
	if err != nil {
		t.Fatal(err)
	}
	ctx, dir, err := running(t.Context(), h.state, "web")
	if err != nil || dir != want {
		t.Fatalf("got folder %q, error %v, want %q", dir, err, want)
	}
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); cause.Error() != "machine web has ended" {
		t.Errorf("got cause %v", cause)
	}
	h.requireReleased(t)
}
