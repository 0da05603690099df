package registry

import (
	"os"
	"sync"
	"testing"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

var _ system.Source = (*Source)(nil)

// TestInstall installs by package system, from a registry that breaks off and a
// mirror that lies.
func TestInstall(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	set.push(t, mirror)
	ref := set.push(t, origin).Reference
	origin.misbehave(inOrder(kernel, breakOff(content, len(content)/2)))
	mirror.misbehave(onBlob(kernel, answer(404, "")))
	client := newClient()
	client.Mirrors = []string{mirror.host}
	store := system.NewStore(t.TempDir(), system.Options{Sources: []system.Source{newSource(t, client, ref, Want{})}})
	got, err := store.Install(t.Context(), "", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != set.id {
		t.Errorf("installed %s, want %s", got.ID, set.id)
	}
	resolved, err := store.Resolve(t.Context(), set.id, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(resolved.Kernel); err != nil || string(data) != content {
		t.Errorf("kernel has %d bytes, error %v, want %d", len(data), err, len(content))
	}
}

func TestInstallInParallel(t *testing.T) {
	origin := newRegistry(t)
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	set.push(t, origin)
	origin.misbehave(nil)
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			source := newSource(t, newClient(), origin.host+"/kindling/set", Want{})
			store := system.NewStore(dir, system.Options{Sources: []system.Source{source}})
			if _, err := store.Install(t.Context(), set.id, "x86_64"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := origin.count(kernel.SHA256); got != 1 {
		t.Errorf("%d downloads of the kernel, want 1", got)
	}
}
