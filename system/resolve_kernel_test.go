package system

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestLatestWithKernel(t *testing.T) {
	one, two := makeSet(t, 1), makeSet(t, 2)
	s := install(t, one, two)
	now := time.Now()
	for i, set := range []fakeSet{two, one} {
		at := now.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(s.dataDir+"/system/"+manifestPath(set.id), at, at); err != nil {
			t.Fatal(err)
		}
	}
	set, err := s.Resolve(t.Context(), one.id, "")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.LatestWithKernel(t.Context(), set.KernelVersion, GetArch()); id != one.id || err != nil {
		t.Errorf("got %s, %v, want the set that was installed last, %s", id, err, one.id)
	}
	// What is not complete cannot be booted.
	if err := os.Remove(s.dataDir + "/system/" + location(GetArch(), one.file(bundle.Initrd))); err != nil {
		t.Fatal(err)
	}
	if id, err := s.LatestWithKernel(t.Context(), set.KernelVersion, GetArch()); id != two.id || err != nil {
		t.Errorf("got %s, %v, want the one that is complete, %s", id, err, two.id)
	}
	for _, store := range []*Store{s, NewStore(t.TempDir(), Options{})} {
		id, err := store.LatestWithKernel(t.Context(), "6.6.6", GetArch())
		missing, ok := errors.AsType[*NotInstalledError](err)
		if id != "" || !ok || missing.Kernel != "6.6.6" || missing.Arch != GetArch() || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("kernel of no set: got %q, %v, want a *NotInstalledError", id, err)
		}
	}
	if _, err := s.LatestWithKernel(t.Context(), "../6", GetArch()); !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("malformed: got error %v, want %v", err, ErrUnsupportedVersion)
	}
}
